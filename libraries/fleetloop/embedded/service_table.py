"""The table of services that the embedded run starts, with what differs between them.

Every service needs Kafka's topics and no other service: services connect to each other on demand, not when they
start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """One service of the table."""

    package: str
    """Started as `python -m <package>`."""
    needs: tuple[str, ...] = ()
    """Packages that have to be ready first, in addition to the topics."""
    more_ports: Mapping[str, str] = field(default_factory=dict)
    """Ports in addition to gRPC and HTTP, each with the variable that is set to 127.0.0.1:port."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of this service only."""
    one_thread: bool = True
    """Restrict numerical libraries to one thread, because eleven services share the machine."""
    grace_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""

    @property
    def label(self) -> str:
        """The name in SPIFFE ids, images and metrics, for example `label-router` for `label_router`."""
        return self.package.replace("_", "-")


SERVICES: tuple[Entry, ...] = (
    Entry("telemetry_gateway"),
    Entry("campaign_keeper"),
    Entry("trigger_detector"),
    Entry("telemetry_archiver"),
    Entry("label_router"),
    Entry("label_desk"),
    Entry("dataset_curator"),
    Entry("training_orchestrator", one_thread=False),
    Entry("fleet_monitor"),
    Entry("rollout_controller"),
    Entry("fleet_console", more_ports={"page": "FLEETLOOP_PAGE_LISTEN"}),
)

"""The services of a fleet, as a table: what the embedded run starts, and what each is told beyond the usual.

Everybody needs Kafka's topics and nobody else: services find each other when they talk, not when they start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    package: str
    """Started as `python -m <package>`."""
    needs: tuple[str, ...] = ()
    """Packages that have to be ready first, beside the topics."""
    more_ports: Mapping[str, str] = field(default_factory=dict)
    """Ports beside gRPC and HTTP: name, and the variable that is set to 127.0.0.1:port."""
    env: Mapping[str, str] = field(default_factory=dict)
    one_thread: bool = True
    """Whether numerical libraries are kept to one thread: eleven services share the machine."""
    grace_s: float = 10.0

    @property
    def label(self) -> str:
        """`label-router` for `label_router`: in SPIFFE ids, images and metrics."""
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
USERS = ("labeller", "engineer", "subscriber")
"""People's roles that an embedded run has certificates for."""

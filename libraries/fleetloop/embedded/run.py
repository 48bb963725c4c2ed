"""The embedded run as a library: all services run while a block of code lasts (demo, end-to-end tests)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from fleetloop.api.installation import RunningFleet, recorded_run
from fleetloop.embedded.run_specs import RunSpecs, build_run_specs
from fleetloop.errors import UserError
from fleetloop.kit.process.private_files import private_files
from fleetloop.layout import RunLayout
from fleetloop.supervisor.restart import RestartPolicy
from fleetloop.supervisor.spec import LivePolicy
from fleetloop.supervisor.supervisor import Supervisor, clear_leftovers, lock_folder


@dataclass(frozen=True, slots=True)
class EmbeddedRun:
    """A run of all services within this process's lifetime."""

    layout: RunLayout
    run_specs: RunSpecs
    supervisor: Supervisor

    @property
    def fleet(self) -> RunningFleet:
        """Addresses and certificates for clients."""
        state = recorded_run(self.layout)
        if state is None:
            raise UserError(f"No fleet is running in {self.layout.root}.", "The run has ended.")
        return RunningFleet(self.layout, state.info, state)


@contextmanager
def embedded_run(
    folder: Path,
    *,
    now: datetime,
    services: Sequence[str] | None = None,
    fleet_id: str = "demo",
    config_dir: Path | None = None,
    more_env: Mapping[str, Mapping[str, str]] | None = None,
    bench: bool = False,
    restart: RestartPolicy | None = None,
    live: LivePolicy | None = None,
    ready_within_s: float = 300.0,
) -> Iterator[EmbeddedRun]:
    """Start Kafka, create its topics, and start services; stop all of them at the end of the block.

    While the block lasts, this process creates files for their owner only (its umask is 077).

    Args:
        folder: The run's folder.
        now: The current time, for certificates.
        services: Packages to start; all by default.
        fleet_id: Part of every identity.
        config_dir: Folder with the configuration; the shipped one by default.
        more_env: Variables to add, by package.
        bench: Tune Kafka's JVM for throughput instead of a quick start.
        restart: When to restart a service.
        live: When a service counts as frozen.
        ready_within_s: Seconds to wait until all services are ready.

    Raises:
        UserError: A prerequisite is missing, or the folder is in use.
        NotReadyError: A service did not become ready.
    """
    layout = RunLayout.at(folder)
    with private_files(), closing(lock_folder(layout)) as lock:
        clear_leftovers(layout)
        run_specs = build_run_specs(
            layout,
            now=now,
            rng=Random(),
            services=services,
            fleet_id=fleet_id,
            config_dir=config_dir,
            more_env=more_env,
            bench=bench,
        )
        with Supervisor(
            run_specs.specs, layout.root, restart=restart, live=live, info=run_specs.info, lock=lock
        ) as supervisor:
            supervisor.wait_ready(ready_within_s)
            yield EmbeddedRun(layout, run_specs, supervisor)

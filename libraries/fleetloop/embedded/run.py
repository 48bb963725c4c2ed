"""The embedded run as a library: everything up for as long as a block of code lasts (demo, end-to-end, chaos)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from fleetloop.api.installation import RunningFleet, recorded_run
from fleetloop.embedded.stack import Stack, build_stack
from fleetloop.errors import UserError
from fleetloop.layout import RunLayout
from fleetloop.supervisor.restart import RestartPolicy
from fleetloop.supervisor.spec import LivePolicy
from fleetloop.supervisor.supervisor import Supervisor, clear_leftovers, lock_folder


@dataclass(frozen=True, slots=True)
class EmbeddedRun:
    layout: RunLayout
    stack: Stack
    supervisor: Supervisor

    @property
    def fleet(self) -> RunningFleet:
        """Addresses and certificates for clients."""
        state = recorded_run(self.layout)
        if state is None:
            raise UserError(f"Nothing is up in {self.layout.root}.", "The run has ended.")
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
    """Kafka, its topics and `services` (all by default), ready; ended when the block is left, however it is left.

    `now` is for certificates; ports are picked at random. UserError when something is missing or the folder is in
    use; NotReadyError when a service does not come up.
    """
    layout = RunLayout.at(folder)
    lock = lock_folder(layout)
    try:
        clear_leftovers(layout)
        stack = build_stack(
            layout,
            now=now,
            chance=Random(),
            services=services,
            fleet_id=fleet_id,
            config_dir=config_dir,
            more_env=more_env,
            bench=bench,
        )
        with Supervisor(
            stack.specs, layout.root, restart=restart, live=live, info=stack.info, lock=lock
        ) as supervisor:
            supervisor.wait_ready(ready_within_s)
            yield EmbeddedRun(layout, stack, supervisor)
    finally:
        lock.close()

"""The state of a run as a file, from which `status` and `down` learn about a supervisor in another process or a dead
one.

It is replaced atomically, so that a reader never sees a part of it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.supervisor.processes import ProcessMark, is_running

_FORMAT = 1


class Phase(StrEnum):
    """The phase of a service."""

    WAITING = "waiting"
    """A service that it needs is not ready."""
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    """It ended and restarts after a delay."""
    CRASH_LOOP = "crash loop"
    """It failed too often and is not restarted until `restart`."""
    DONE = "done"
    """A task that has exited 0."""
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The state of one service, as shown to people and written to the state file."""

    name: str
    phase: Phase
    log: Path
    process: ProcessMark | None = None
    restarts: int = 0
    ports: Mapping[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    """User and system time of all its processes; in the file, only of those that have ended."""
    last_exit: int | None = None
    note: str = ""
    """Explanation of the phase, for people."""
    after_stop: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """True if the service is ready, or the task is done."""
        return self.phase in (Phase.READY, Phase.DONE)


class StateError(Exception):
    """The state file cannot be read as one of ours."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The state of a run."""

    run_id: str
    supervisor: ProcessMark
    info: Mapping[str, str]
    """What clients of the run need, such as addresses; the supervisor only stores it."""
    services: tuple[ServiceStatus, ...] = ()

    @property
    def supervised(self) -> bool:
        """True while the run's supervisor runs."""
        return is_running(self.supervisor)

    def marks(self) -> tuple[ProcessMark, ...]:
        """Return the marks of all running services."""
        return tuple(service.process for service in self.services if service.process is not None)


def write_state(path: Path, state: RunState) -> None:
    """Write the state atomically."""
    document = {"format": _FORMAT, **asdict(state)}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(document, indent=1, default=str) + "\n")


def read_state(path: Path) -> RunState | None:
    """Return the recorded state, or None if there is none. Raises StateError if the file is not a run's state."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateError(f"{path} is not a run's state: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise StateError(f"{path} was written by another version of fleetloop")
    try:
        return RunState(
            run_id=document["run_id"],
            supervisor=ProcessMark(**document["supervisor"]),
            info=document["info"],
            services=tuple(_service(each) for each in document["services"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path} is not a run's state: {error!r}") from error


def _service(each: dict[str, object]) -> ServiceStatus:
    fields: dict[str, object] = dict(each)
    fields["phase"] = Phase(str(each["phase"]))
    fields["log"] = Path(str(each["log"]))
    fields["after_stop"] = tuple(each["after_stop"])  # type: ignore[arg-type]
    if each["process"] is not None:
        fields["process"] = ProcessMark(**each["process"])  # type: ignore[arg-type]
    return ServiceStatus(**fields)  # type: ignore[arg-type]


def clean_up_outside(state: RunState) -> None:
    """Run the services' clean-up commands. Failures are ignored: there may be nothing left to remove."""
    for service in state.services:
        if service.after_stop:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(service.after_stop, capture_output=True, timeout=30, check=False)

"""What runs in a folder, as a file: how `status` and `down` know of a supervisor in another process, or a dead one.

Written whole and renamed into place, so that a reader never sees half of it.
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
    WAITING = "waiting"
    """Something that it needs is not ready."""
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    """It ended and is started again after a delay."""
    CRASH_LOOP = "crash loop"
    """It ended too often; nobody tries any more until `restart`."""
    DONE = "done"
    """A task that has ended well."""
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    name: str
    phase: Phase
    log: Path
    process: ProcessMark | None = None
    restarts: int = 0
    ports: Mapping[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    """User and system time of all its processes so far; in the file, only of those that have ended."""
    last_exit: int | None = None
    note: str = ""
    """Why it is where it is, for people."""
    after_stop: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return self.phase in (Phase.READY, Phase.DONE)


class StateError(Exception):
    """The state file is not one of ours."""


@dataclass(frozen=True, slots=True)
class RunState:
    run_id: str
    supervisor: ProcessMark
    info: Mapping[str, str]
    """What clients of the run want to know, such as addresses; the supervisor only passes it on."""
    services: tuple[ServiceStatus, ...] = ()

    @property
    def supervised(self) -> bool:
        return is_running(self.supervisor)

    def marks(self) -> tuple[ProcessMark, ...]:
        return tuple(service.process for service in self.services if service.process is not None)


def write_state(path: Path, state: RunState) -> None:
    document = {"format": _FORMAT, **asdict(state)}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(document, indent=1, default=str) + "\n")


def read_state(path: Path) -> RunState | None:
    """The recorded state, or None if there is none."""
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
    """Run the services' clean-up commands; failures are ignored, since the thing may be gone already."""
    for service in state.services:
        if service.after_stop:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(service.after_stop, capture_output=True, timeout=30, check=False)

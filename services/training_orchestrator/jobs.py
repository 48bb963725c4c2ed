"""Jobs as folders: a job is started once, adopted by its lock, and finished by its result.

`fleetloop.domain.run_folder` has the contract of the folder. A job is a process in its own session that outlives this
service. A process belongs to a run when its command line ends with the run's folder. Process ids would not do,
because they are reused; nor would the launcher's process group, because torchrun gives its worker a session of its
own.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fleetloop.domain.run_folder import (
    HEARTBEAT,
    LOCK,
    LOG,
    PROGRESS,
    REQUEST,
    RUN_DIR_OPTION,
    RunFailure,
    RunRequest,
    RunResult,
    read_result,
    to_json,
)
from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.process.clock import ns_to_seconds
from fleetloop.kit.process.settings import PREFIX

_SECRETS = ("KAFKA_USERNAME", "KAFKA_PASSWORD", "DATABASE_URL", "TLS_KEY", "SIGNING_KEY", "EVENT_KEY")
"""Settings of the service that name secrets a job has no use for."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a run's job, as its folder says."""

    running: bool
    result: RunResult | RunFailure | None
    beat_age_s: float
    """Seconds since the last heartbeat; 0 when there was none."""


class TorchrunJobs:
    """Jobs under torchrun as child processes; the folder of a run is named by the run."""

    def __init__(self, root: Path, module: str, nice: int, environ: Mapping[str, str] | None = None) -> None:
        """`environ`: the environment of jobs; that of this process if there is none."""
        self._environ = environ
        self._root = root
        self._module = module
        self._nice = nice
        self._children: list[subprocess.Popen[bytes]] = []
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, run_id: str) -> Path:
        """The folder of a run."""
        return self._root / run_id

    def status(self, run_id: str, now_utc_ns: int) -> JobStatus:
        """Read the state of the run's job from its folder. Never blocks."""
        self._reap()
        folder = self.folder(run_id)
        running = _is_locked(folder / LOCK)
        heartbeat = folder / HEARTBEAT
        age_s = ns_to_seconds(now_utc_ns - heartbeat.stat().st_mtime_ns) if heartbeat.exists() else 0.0
        return JobStatus(running, read_result(folder), max(0.0, age_s))

    def launch(self, run_id: str, request: RunRequest) -> bool:
        """Start a job; False when a process holds the lock already, which is then the run's job."""
        folder = self.folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        if _is_locked(folder / LOCK):
            return False
        replace_text(folder / REQUEST, to_json(request), sync=True)
        command = [
            *(["nice", "-n", str(self._nice)] if self._nice else []),
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "1",
            "--max-restarts",
            "0",
            "-m",
            self._module,
            RUN_DIR_OPTION,
            str(folder),
        ]
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environ,
            )
        self._children.append(child)
        return True

    def end(self, run_id: str) -> None:
        """Kill a job that holds its lock: the launcher and the worker, also those that an earlier process started."""
        folder = self.folder(run_id)
        if _is_locked(folder / LOCK):
            for process in _processes_of(folder):
                with suppress(psutil.Error):
                    process.kill()

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    def starting(self, run_id: str) -> bool:
        """True while a process of the run lives, even before it holds the lock, and whichever process started it."""
        self._reap()
        return any(True for _ in _processes_of(self.folder(run_id)))


def job_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job: the service's own, without the names and values of its secrets.

    The credentials of the object store stay, because a job reads the tables.
    """
    secret = {PREFIX + name for name in _SECRETS}
    return {name: value for name, value in environ.items() if name not in secret}


def job_folder_root(state_dir: Path) -> Path:
    """The folder of all runs, below a service's state."""
    return state_dir / "runs"


def _processes_of(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[-2:] == [RUN_DIR_OPTION, str(folder)]:
                yield process


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False


def read_progress(folder: Path, after: int) -> tuple[list[dict[str, Any]], int]:
    """Progress lines after a byte position, and the position after them. An incomplete last line is left out."""
    path = folder / PROGRESS
    if not path.exists():
        return [], after
    with path.open("rb") as file:
        file.seek(after)
        raw = file.read()
    whole, newline, _ = raw.rpartition(b"\n")
    lines = [json.loads(line) for line in whole.splitlines() if line.strip()]
    return lines, after + len(whole) + len(newline)

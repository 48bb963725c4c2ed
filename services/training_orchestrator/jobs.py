"""Jobs as folders: started once, adopted by their lock, judged by their result.

A job is a process of its own session that outlives this service. It holds `flock` on <run>/lock for as long as it
lives, touches <run>/heartbeat, writes progress lines, and renames result.json into place when it is done. So after
any crash the truth is in the folder: a result means done, a held lock means running, neither means dead. Nothing
is ever concluded from a process id but the right to end a process that still holds the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK, HEARTBEAT, RESULT, REQUEST, PROGRESS, LOG, PID = (
    "lock",
    "heartbeat",
    "result.json",
    "request.json",
    "progress.jsonl",
    "job.log",
    "pid",
)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What a run's folder says."""

    running: bool
    result: Mapping[str, Any] | None
    beat_age_s: float
    """Seconds since the last heartbeat; 0 when there was none."""


class TorchrunJobs:
    """Jobs under torchrun as child processes; the folder of a run is named by the run."""

    def __init__(self, root: Path, module: str, nice: int) -> None:
        self._root = root
        self._module = module
        self._nice = nice
        self._children: list[subprocess.Popen[bytes]] = []
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, run_id: str) -> Path:
        """Where a run lies."""
        return self._root / run_id

    def look(self, run_id: str, now_utc_ns: int) -> JobStatus:
        """Reads the folder; never blocks."""
        self._reap()
        folder = self.folder(run_id)
        running = _is_locked(folder / LOCK)
        result = None
        if (folder / RESULT).exists():
            result = json.loads((folder / RESULT).read_text())
        heartbeat = folder / HEARTBEAT
        age_s = (now_utc_ns - heartbeat.stat().st_mtime_ns) / 1e9 if heartbeat.exists() else 0.0
        return JobStatus(running, result, max(0.0, age_s))

    def launch(self, run_id: str, request: Mapping[str, object]) -> bool:
        """Starts a job; False when one holds the lock already, which is then the job."""
        folder = self.folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        if _is_locked(folder / LOCK):
            return False
        draft = folder / (REQUEST + ".tmp")
        draft.write_text(json.dumps(request, indent=2, sort_keys=True))
        draft.replace(folder / REQUEST)
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
            "--run-dir",
            str(folder),
        ]
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._children.append(child)
        (folder / PID).write_text(str(child.pid))
        return True

    def end(self, run_id: str) -> None:
        """Ends a job that holds its lock: its process group, which it leads."""
        folder = self.folder(run_id)
        if _is_locked(folder / LOCK) and (folder / PID).exists():
            try:
                os.killpg(int((folder / PID).read_text()), signal.SIGKILL)
            except ProcessLookupError:
                return

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    def starting(self, run_id: str) -> bool:
        """True while a child of this process has started and may not have taken the lock yet."""
        self._reap()
        pid_file = self.folder(run_id) / PID
        if not pid_file.exists():
            return False
        pid = int(pid_file.read_text())
        return any(child.pid == pid for child in self._children)


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
    """Progress lines after a byte position, and the position to go on from. Half a line waits for its end."""
    path = folder / PROGRESS
    if not path.exists():
        return [], after
    with path.open("rb") as file:
        file.seek(after)
        raw = file.read()
    whole, newline, _ = raw.rpartition(b"\n")
    lines = [json.loads(line) for line in whole.splitlines() if line.strip()]
    return lines, after + len(whole) + len(newline)

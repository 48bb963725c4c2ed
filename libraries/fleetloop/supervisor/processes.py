"""Processes, identified by id and start time, because ids are reused and a bare id could belong to another process.

Every process of a run has the run's id in its environment, which children inherit. This also finds processes that
left their parent's process group on purpose: a training job outlives its orchestrator, but not the run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

RUN_ID_VARIABLE = "FLEETLOOP_RUN_ID"


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """Identifies one process until the machine restarts."""

    pid: int
    started: str
    """On Linux boot id and clock ticks since boot, which no clock adjustment changes; elsewhere the start time."""


@cache
def _boot_id() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def mark(pid: int) -> ProcessMark | None:
    """Return the mark of a running process, or None if there is none. A zombie counts as none."""
    boot = _boot_id()
    if boot is None:
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return ProcessMark(pid, f"{process.create_time():.2f}")
        except psutil.Error:
            return None
    try:
        # The second field is the command in parentheses and may contain any character, so split after the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else ProcessMark(pid, f"{boot}:{fields[19]}")


def is_running(process: ProcessMark) -> bool:
    """Return True if exactly this process still runs."""
    return mark(process.pid) == process


def send(process: ProcessMark, number: signal.Signals) -> bool:
    """Send a signal to exactly this process. Returns False if it has ended."""
    if not is_running(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def of_run(run_id: str) -> list[ProcessMark]:
    """Return all processes of this user, except the caller, with the run's id in their environment."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            belongs = process.environ().get(RUN_ID_VARIABLE) == run_id
        except (psutil.Error, OSError):
            continue
        marked = mark(process.pid) if belongs else None
        if marked is not None:
            found.append(marked)
    return found


def sweep(run_id: str, recorded: Iterable[ProcessMark] = (), *, grace_s: float = 3.0) -> int:
    """Stop all processes of a run: SIGTERM, then SIGKILL after `grace_s` seconds. Returns the number of processes."""
    found: set[ProcessMark] = set()
    deadline = time.monotonic() + grace_s
    known = [each for each in recorded if is_running(each)]
    while True:
        running = {*of_run(run_id), *(each for each in known if is_running(each))}
        if not running:
            return len(found)
        final = time.monotonic() >= deadline
        for each in running if final else running - found:
            send(each, signal.SIGKILL if final else signal.SIGTERM)
        found |= running
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of a process, of its running children, and of those that it has waited for."""
    total = 0.0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for each in family:
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total

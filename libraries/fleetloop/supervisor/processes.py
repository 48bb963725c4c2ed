"""Processes, told apart by id and start: ids are used again, so an id alone could kill a stranger.

Whatever a run starts carries the run's id in its environment, and children inherit it. That finds those as well
that left their parent's process group on purpose (a training job outlives its orchestrator, but not the run).
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
    """One process, for as long as the machine is up."""

    pid: int
    started: str
    """Linux: boot id and clock ticks since boot, which no clock adjustment changes; elsewhere the start time."""


@cache
def _boot_id() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def mark(pid: int) -> ProcessMark | None:
    """The mark of a running process, or None if there is none (a zombie counts as none)."""
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
        # The second field is the command in brackets and may hold anything; the rest is plain.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else ProcessMark(pid, f"{boot}:{fields[19]}")


def is_running(wanted: ProcessMark) -> bool:
    return mark(wanted.pid) == wanted


def send(wanted: ProcessMark, number: signal.Signals) -> bool:
    """Signal exactly this process; False if it is gone."""
    if not is_running(wanted):
        return False
    try:
        os.kill(wanted.pid, number)
    except ProcessLookupError:
        return False
    return True


def of_run(run_id: str) -> list[ProcessMark]:
    """All processes of this user, except the caller, that carry the run's id in their environment."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            carries = process.environ().get(RUN_ID_VARIABLE) == run_id
        except (psutil.Error, OSError):
            continue
        marked = mark(process.pid) if carries else None
        if marked is not None:
            found.append(marked)
    return found


def sweep(run_id: str, recorded: Iterable[ProcessMark] = (), *, grace_s: float = 3.0) -> int:
    """End everything that belongs to a run: SIGTERM, `grace_s`, SIGKILL. Returns how many processes it met."""
    met: set[ProcessMark] = set()
    deadline = time.monotonic() + grace_s
    known = [each for each in recorded if is_running(each)]
    while True:
        running = {*of_run(run_id), *(each for each in known if is_running(each))}
        if not running:
            return len(met)
        final = time.monotonic() >= deadline
        for each in running if final else running - met:
            send(each, signal.SIGKILL if final else signal.SIGTERM)
        met |= running
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of the children that it has waited for, and of those still running."""
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

"""Every moment at which a vehicle became fast or slow is announced once, and nothing fires at any other moment.

The harness knows the drives that it made, so this check needs neither the archive nor the detector's own code, which
would hide a fault in that code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.chaos.findings import Fault, Finding
from tests.chaos.history import Drive, History
from tests.chaos.observed import Fired

STAGE = "detector"
FAST, SLOW_AGAIN = "stop_sign_chaos", "chaos_unrouted"
GAP_NS = 2_000_000_000
"""Between two frames that are further apart, a vehicle may become fast or slow without a firing."""
MEMORY_S = 55.0
"""The detector remembers 60 s by the broker's time, and sees what comes later than that as if it were the first. The
broker's time is up to a few seconds before the acknowledgement.
"""
Onset = tuple[str, str, int]
"""(trigger, vehicle, nanoseconds of the vehicle's monotonic clock)."""


def check(history: History, announced: Sequence[Fired]) -> list[Finding]:
    """Compare the announced firings with the drives of the acknowledged batches."""
    drives, when_s = history.drives, history.acknowledged_s
    required, _ = onsets({each: drives[each] for each in history.acknowledged if each in drives}, when_s)
    _, allowed = onsets(drives, when_s)
    found: dict[Onset, set[str]] = {}
    for each in announced:
        found.setdefault((each.trigger, each.vehicle, each.onset_monotonic_ns), set()).add(each.firing_id)
    findings = [Finding(STAGE, Fault.LOST, _name(each), "the drive has it") for each in required - found.keys()]
    findings += [
        Finding(STAGE, Fault.UNSEEN, _name(each), "the drive does not have it") for each in found.keys() - allowed
    ]
    findings += [
        Finding(STAGE, Fault.DOUBLED, _name(each), f"{len(ids)} firings")
        for each, ids in found.items()
        if len(ids) > 1
    ]
    return sorted(findings)


def onsets(drives: Mapping[str, Drive], acknowledged_s: Mapping[str, float]) -> tuple[set[Onset], set[Onset]]:
    """Where the triggers must fire, and where they may: a frame after a gap, or the first of a boot, may fire.

    Args:
        drives: Batch -> what its vehicle did in it.
        acknowledged_s: Batch -> when it was acknowledged, for those of which it is known.
    """
    frames: dict[tuple[str, str], dict[int, tuple[str, float | None]]] = {}
    for batch, drive in drives.items():
        own, came_s = frames.setdefault((drive.vehicle, drive.boot), {}), acknowledged_s.get(batch)
        own.update({drive.start_ns + n * drive.step_ns: (fast, came_s) for n, fast in enumerate(drive.fast)})
    required: set[Onset] = set()
    allowed: set[Onset] = set()
    for (vehicle, _), by_time in frames.items():
        before_ns, before, before_s = None, "", None
        for at_ns, (fast, came_s) in sorted(by_time.items()):
            onset = (FAST if fast == "1" else SLOW_AGAIN, vehicle, at_ns)
            late = came_s is not None and before_s is not None and came_s - before_s > MEMORY_S
            if before_ns is None or at_ns - before_ns > GAP_NS:
                allowed.add(onset)
            elif fast != before:
                allowed.add(onset)
                if not late:
                    required.add(onset)
            before_ns, before, before_s = at_ns, fast, came_s
    return required, allowed


def _name(onset: Onset) -> str:
    trigger, vehicle, at_ns = onset
    return f"{trigger} of {vehicle} at {at_ns}"

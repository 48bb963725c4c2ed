"""Which batches count, and how they can be taken together without anybody noticing.

The rule is one batch at a time, in the log's order: a batch sees the points of the batches before it. Taking
several at once is only allowed where it provably gives the same, and that is decided here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trigger_detector.model import Limits
from trigger_detector.plan import Plan


@dataclass(slots=True)
class VehicleState:
    """All that is remembered of one vehicle and boot."""

    seen: deque[tuple[int, int, int]] = field(default_factory=deque)
    """(sequence, end in monotonic ns, append ms) of the batches that were in the log, whatever became of them."""
    points: deque[tuple[int, int]] = field(default_factory=deque)
    """(end in monotonic ns, append ms) of the batches whose points are remembered."""
    memory: bytes = b""
    """Remembered points, as the machine packs them."""
    edges: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((2, 0), np.int32))
    """(2, triggers): event second and the broker's second at which each condition was last false; -1: not since
    it was last true.
    """
    slots: dict[int, dict[int, int]] = field(default_factory=dict)
    """Trigger to slot to append ms: slots in which it has fired."""

    def nbytes(self) -> int:
        """Bytes of what is remembered; the containers around it come on top."""
        return len(self.memory) + self.edges.nbytes


@dataclass(slots=True)
class Run:
    """Batches of one vehicle and boot that are evaluated in one go."""

    state: VehicleState
    places: list[int] = field(default_factory=list)
    """Where in the log's order each batch stands."""
    late: bool = False
    """A late batch is evaluated by itself: its windows begin with it and nothing later sees it."""
    forget_until_ns: int = -1
    """Points up to here left the memory by the broker's clock."""
    end_ns: int = 0
    """Of the last batch: its last instant in any column."""


ADMITTED, DUPLICATE, LATE, TOO_LATE = "admitted", "duplicate", "late", "too_late"


def admit(state: VehicleState, sequence: int, start_ns: int, end_ns: int, append_ms: int, limits: Limits) -> str:
    """Judges a batch by what was in the log within the memory before it, and notes that it was there."""
    seen = state.seen
    oldest_ms = append_ms - limits.memory_ms
    while seen and seen[0][2] < oldest_ms:
        seen.popleft()
    newest_ns, known = -1, False
    for old_sequence, old_end_ns, _ in seen:
        if old_sequence == sequence:
            known = True
        if old_end_ns > newest_ns:
            newest_ns = old_end_ns
    first = not seen
    seen.append((sequence, end_ns, append_ms))
    if known:
        return DUPLICATE
    if first or start_ns > newest_ns:
        return ADMITTED
    return TOO_LATE if newest_ns - start_ns > limits.lateness_s * 1e9 else LATE


def place_in_run(
    state: VehicleState, current: Run | None, place: int, start_ns: int, end_ns: int, append_ms: int, plan: Plan
) -> Run | None:
    """Adds an admitted batch to the vehicle's current run; returns a new run where it must not be added to
    it.

    It must not when a point that it would see has left the memory by the broker's clock.
    """
    oldest_ms = append_ms - plan.limits.memory_ms
    forget_until_ns = -1
    points = state.points
    while points and points[0][1] < oldest_ms:
        forget_until_ns = points.popleft()[0]
    points.append((end_ns, append_ms))
    if current is not None and forget_until_ns < start_ns - plan.deepest_ns:
        current.places.append(place)
        current.end_ns = end_ns
        return None
    return Run(state, [place], forget_until_ns=forget_until_ns, end_ns=end_ns)

"""Which batches count, and how they can be taken together without anybody noticing.

The rule is one batch at a time, in the log's order: a batch sees the points of the batches before it. Taking
several at once is only allowed where it provably gives the same, and that is decided here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trigger_detector.model import Appended
from trigger_detector.plan import Plan
from triggerlang.block import History, Tail, latest_ns


class Seen(NamedTuple):
    """A batch that was in the log, whatever became of it."""

    sequence: int
    end_ns: int
    append_ms: int


@dataclass(slots=True)
class VehicleState:
    """All that is remembered of one vehicle and boot."""

    seen: deque[Seen] = field(default_factory=deque)
    points: deque[tuple[int, int]] = field(default_factory=deque)
    """(end in monotonic ns, append ms) of the batches whose points are in the history."""
    history: History = field(default_factory=dict)
    false_s: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """(triggers,) event second at which each condition was last false, -1: not since it was last true."""
    false_append_s: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """(triggers,) the broker's second of the same."""
    slots: dict[int, dict[int, int]] = field(default_factory=dict)
    """Trigger to slot to append ms: slots in which it has fired."""

    def nbytes(self) -> int:
        """Bytes of arrays held; the containers around them come on top."""
        arrays = {id(t.times): t.times.nbytes for t in self.history.values()}
        values = sum(v.nbytes for t in self.history.values() for v in t.values.values())
        counts = sum(t.counts.nbytes for t in self.history.values() if t.counts is not None)
        return sum(arrays.values()) + values + counts + self.false_s.nbytes + self.false_append_s.nbytes


@dataclass(slots=True)
class Run:
    """Batches of one vehicle and boot that are evaluated in one go."""

    state: VehicleState
    places: list[int] = field(default_factory=list)
    """Where in the log's order each batch stands."""
    batches: list[Appended] = field(default_factory=list)
    late: bool = False
    """A late batch is evaluated by itself: its windows begin with it and nothing later sees it."""
    forget_until_ns: int = -1
    """Points up to here left the memory by the broker's clock."""
    end_ns: int = 0
    """Of the last batch: its last instant in any column."""


ADMITTED, DUPLICATE, LATE, TOO_LATE = "admitted", "duplicate", "late", "too_late"


def admit(state: VehicleState, appended: Appended, plan: Plan) -> str:
    """Judges a batch by what was in the log within the memory before it, and notes that it was there."""
    batch, memory_ms = appended.batch, round(plan.limits.memory_s() * 1000)
    while state.seen and state.seen[0].append_ms < appended.append_ms - memory_ms:
        state.seen.popleft()
    known = any(s.sequence == batch.sequence for s in state.seen)
    newest_ns = max((s.end_ns for s in state.seen), default=None)
    state.seen.append(Seen(batch.sequence, latest_ns(batch), appended.append_ms))
    if known:
        return DUPLICATE
    if newest_ns is None or batch.start_monotonic_ns > newest_ns:
        return ADMITTED
    behind_ns = newest_ns - batch.start_monotonic_ns
    return TOO_LATE if behind_ns > plan.limits.lateness_s * 1e9 else LATE


def place_in_run(state: VehicleState, current: Run | None, place: int, appended: Appended, plan: Plan) -> Run | None:
    """Adds an admitted batch to the vehicle's current run; returns a new run where it must not be added to
    it.

    It must not when a point that it would see has left the memory by the broker's clock.
    """
    horizon_ms = appended.append_ms - round(plan.limits.memory_s() * 1000)
    forget_until_ns = -1
    while state.points and state.points[0][1] < horizon_ms:
        forget_until_ns = state.points.popleft()[0]
    end_ns = state.seen[-1].end_ns  # admit() has just noted this batch
    state.points.append((end_ns, appended.append_ms))
    matters = forget_until_ns >= appended.batch.start_monotonic_ns - plan.deepest_ns
    if current is not None and not matters:
        current.places.append(place)
        current.batches.append(appended)
        current.end_ns = end_ns
        return None
    return Run(state, [place], [appended], forget_until_ns=forget_until_ns, end_ns=end_ns)


def forgotten(history: History, until_ns: int) -> History:
    """The history without points at or before an instant."""
    if until_ns < 0:
        return history
    kept: dict[str, Tail] = {}
    cuts: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}
    for source, tail in history.items():
        if id(tail.times) not in cuts:
            cut = int(np.searchsorted(tail.times, until_ns, side="right"))
            cuts[id(tail.times)] = (cut, tail.times[cut:])
        cut, times = cuts[id(tail.times)]
        if cut == len(tail.times):
            continue
        first = cut if tail.counts is None else int(tail.counts[:cut].sum())
        values = {name: array[first:] for name, array in tail.values.items()}
        kept[source] = Tail(times, values, None if tail.counts is None else tail.counts[cut:])
    return kept

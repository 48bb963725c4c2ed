"""Which batches count, and which of them can be evaluated together.

The rule is one batch at a time, in the log's order: a batch sees the points of the batches before it. Several batches
may be evaluated together only where the result is provably the same, and that is decided here.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from fleetloop.kit.process.clock import seconds_to_ns
from trigger_detector.model import Limits
from trigger_detector.plan import Plan

_WIDTH = 4
"""Numbers per batch in ``VehicleState.seen``."""
_SEQUENCE, _END_NS, _APPEND_MS, _ADMITTED = range(_WIDTH)
"""Their order; the last is 1 if the batch was admitted, else 0."""


@dataclass(slots=True)
class VehicleState:
    """All that is remembered of one vehicle and boot. A fleet has many vehicles, so this is kept small."""

    seen: array[int] = field(default_factory=lambda: array("q"))
    """The batches that were in the log, admitted or not, ``_WIDTH`` numbers each."""
    forget_until_ns: int = -1
    """Points up to here are too old by the broker's clock, and the next run has to forget them; -1 for none."""
    memory: bytes = b""
    """Remembered points and edges, as the machine packs them."""
    slots: dict[int, dict[int, int]] | None = None
    """Trigger to slot to append ms: slots in which it has fired."""

    def nbytes(self) -> int:
        """Bytes of what is remembered, without the objects around it."""
        return len(self.memory) + len(self.seen) * self.seen.itemsize

    def newest_append_ms(self) -> int:
        """The broker's time of the last batch, -1 for none."""
        return self.seen[_APPEND_MS - _WIDTH] if self.seen else -1

    def fired_slots(self, trigger: int) -> dict[int, int]:
        """Slot to append ms: the slots in which a trigger has fired."""
        if self.slots is None:
            self.slots = {}
        return self.slots.setdefault(trigger, {})


@dataclass(slots=True)
class Run:
    """Batches of one vehicle and boot that are evaluated together."""

    state: VehicleState
    batches: list[int] = field(default_factory=list)
    """Position of each batch in the poll."""
    late: bool = False
    """A late batch is evaluated by itself: its windows begin with it and nothing later sees it."""
    forget_until_ns: int = -1
    """Points up to here are too old by the broker's clock; -1 for none."""
    end_ns: int = 0
    """Monotonic time of the last batch's last instant in any column."""


ADMITTED, DUPLICATE, LATE, TOO_LATE = "admitted", "duplicate", "late", "too_late"


def admit(state: VehicleState, sequence: int, start_ns: int, end_ns: int, append_ms: int, limits: Limits) -> str:
    """Decides whether a batch counts, by what was in the log within the memory before it, and notes the batch.

    Returns ADMITTED, DUPLICATE, LATE (evaluated by itself) or TOO_LATE (not evaluated).
    """
    seen = state.seen
    oldest_ms = append_ms - limits.memory_ms
    while seen and seen[_APPEND_MS] < oldest_ms:
        if seen[_ADMITTED]:
            state.forget_until_ns = seen[_END_NS]
        del seen[:_WIDTH]
    newest_ns = max(seen[_END_NS::_WIDTH], default=-1)
    if sequence in seen[_SEQUENCE::_WIDTH]:
        outcome = DUPLICATE
    elif start_ns > newest_ns:
        outcome = ADMITTED
    elif newest_ns - start_ns > seconds_to_ns(limits.lateness_s):
        outcome = TOO_LATE
    else:
        outcome = LATE
    seen.extend((sequence, end_ns, append_ms, outcome == ADMITTED))
    return outcome


def add_to_run(
    state: VehicleState, current: Run | None, index: int, start_ns: int, end_ns: int, plan: Plan
) -> Run | None:
    """Adds an admitted batch, the poll's ``index``-th, to the vehicle's current run, or returns a new run with it.

    A new run is needed if points that the batch would see are too old by the broker's clock: all batches of a run see
    the same remembered points.
    """
    forget_until_ns, state.forget_until_ns = state.forget_until_ns, -1
    if current is not None and forget_until_ns < start_ns - plan.deepest_ns:
        current.batches.append(index)
        current.end_ns = end_ns
        return None
    return Run(state, [index], forget_until_ns=forget_until_ns, end_ns=end_ns)

"""Which batches count, and how they can be taken together without anybody noticing.

The rule is one batch at a time, in the log's order: a batch sees the points of the batches before it. Taking
several at once is only allowed where it provably gives the same, and that is decided here.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from fleetloop.kit.process.clock import seconds_to_ns
from trigger_detector.model import Limits
from trigger_detector.plan import Plan

_WORDS = 4
"""Numbers of a batch in ``VehicleState.seen``: sequence, end in monotonic ns, append ms, 1 where it was admitted."""


@dataclass(slots=True)
class VehicleState:
    """All that is remembered of one vehicle and boot. A fleet has many, so it is small."""

    seen: array[int] = field(default_factory=lambda: array("q"))
    """The batches that were in the log, whatever became of them, ``_WORDS`` numbers each."""
    forget_until_ns: int = -1
    """Points up to here have left the memory by the broker's clock, and are yet to be forgotten."""
    memory: bytes = b""
    """Remembered points and edges, as the machine packs them."""
    slots: dict[int, dict[int, int]] | None = None
    """Trigger to slot to append ms: slots in which it has fired."""

    def nbytes(self) -> int:
        """Bytes of what is remembered; the objects around it come on top."""
        return len(self.memory) + len(self.seen) * self.seen.itemsize

    def newest_append_ms(self) -> int:
        """The broker's time of the last batch, -1 for none."""
        return self.seen[-2] if self.seen else -1

    def taken(self, trigger: int) -> dict[int, int]:
        """The slots in which a trigger has fired."""
        if self.slots is None:
            self.slots = {}
        return self.slots.setdefault(trigger, {})


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
    while seen and seen[2] < oldest_ms:
        if seen[3]:
            state.forget_until_ns = seen[1]
        del seen[:_WORDS]
    newest_ns = max(seen[1::_WORDS], default=-1)
    if sequence in seen[::_WORDS]:
        verdict = DUPLICATE
    elif start_ns > newest_ns:
        verdict = ADMITTED
    elif newest_ns - start_ns > seconds_to_ns(limits.lateness_s):
        verdict = TOO_LATE
    else:
        verdict = LATE
    seen.extend((sequence, end_ns, append_ms, verdict == ADMITTED))
    return verdict


def place_in_run(
    state: VehicleState, current: Run | None, place: int, start_ns: int, end_ns: int, plan: Plan
) -> Run | None:
    """Adds an admitted batch to the vehicle's current run; returns a new run where it must not be added to
    it.

    It must not when a point that it would see has left the memory by the broker's clock.
    """
    forget_until_ns, state.forget_until_ns = state.forget_until_ns, -1
    if current is not None and forget_until_ns < start_ns - plan.deepest_ns:
        current.places.append(place)
        current.end_ns = end_ns
        return None
    return Run(state, [place], forget_until_ns=forget_until_ns, end_ns=end_ns)

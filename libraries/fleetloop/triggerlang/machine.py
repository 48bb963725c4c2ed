"""Runs a compiled program over many vehicles' batches, and keeps the room that this takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetloop.triggerlang.kernels import vehicles
from fleetloop.triggerlang.kernels.tables import FULL_CANDIDATES, FULL_DETAILS, FULL_PACKED, FULL_PAGE, MEMO
from fleetloop.triggerlang.lowering import Ints, Lowered
from fleetloop.triggerlang.reading import Batches


@dataclass(frozen=True, slots=True)
class Rules:
    """When a trigger whose condition is true fires; arrays of (triggers,)."""

    always: npt.NDArray[np.bool_]
    """While it is true, not only where it turns true."""
    fenced: npt.NDArray[np.bool_]
    """Only in some place: then every moment is reported, since a later one of a slot may count."""
    interval_ns: Ints
    """Length of a slot, of which only the first moment is reported."""
    from_ns: Ints
    until_ns: Ints
    """UTC between which it is in force; until 0 means for ever."""
    memory_s: int
    """For how long it is remembered that a condition was false."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One vehicle and boot: what is remembered, and the new batches, each of which starts after all before it."""

    memory: bytes
    """What an earlier run left; empty where nothing is remembered."""
    batches: Sequence[int]
    """Places within ``Batches``."""
    end_ns: int
    """Monotonic time of the last instant of any column."""
    forget_ns: int = -1
    """Remembered points up to here are forgotten first."""
    alone: bool = False
    """Nothing is remembered of it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment at which a trigger's condition turned true."""

    segment: int
    batch: int
    """Place within ``Batches``."""
    trigger: int
    onset_ns: int
    named: tuple[bool, ...]
    """Which of the trigger's named conditions hold."""
    evidence: tuple[float, ...]
    """Values to report; NaN is unknown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found, and what each segment leaves to be remembered."""

    moments: tuple[Moment, ...]
    memories: tuple[bytes, ...]


class Machine:
    """A lowered program with its rules and its room. One thread at a time."""

    def __init__(self, lowered: Lowered, rules: Rules) -> None:
        self.lowered = lowered
        self._rules = rules
        self._page = 512
        self._pool = 1 << 16
        self._scratch = 1024
        self._candidates = np.zeros((1024, 5), np.int64)
        self._details = np.zeros(4096, np.float64)
        self._packed = np.zeros(1 << 18, np.uint8)
        self._named_first = np.cumsum([0, *map(len, lowered.named)], dtype=np.int64)
        self._named = np.concatenate([np.zeros(0, np.int64), *lowered.named])
        self._evidence_first = np.cumsum([0, *map(len, lowered.evidence)], dtype=np.int64)
        pairs = [(int(is_code), register) for entries in lowered.evidence for is_code, register in entries]
        self._evidence = np.array(pairs, np.int64).reshape(-1, 2)
        sources = len(lowered.reach_ns)
        unions = len(lowered.union_first)
        self._queries = np.zeros((lowered.queries, 7), np.int64)
        self._floats = np.zeros(lowered.floats + 1, np.int64)
        self._codes = np.zeros(lowered.codes + 1, np.int64)
        self._timelines = np.zeros((sources + unions + 2, 10), np.int64)
        self._cadences = np.zeros((sources + unions + 2, 4), np.int64)
        self._memo = np.zeros((MEMO + 1, 5), np.int64)
        self._unions_made = [np.zeros((unions + 2, sources + 4), np.int64) for _ in range(2)]
        self._parts = np.zeros(sources + unions + 4, np.int64)
        self._source_tl, self._source_at, self._known_at = (np.zeros(sources + 1, np.int64) for _ in range(3))
        self._groups = np.zeros((len(lowered.group_first), 10), np.int64)
        self._field_at, self._listed_at = (np.zeros(len(lowered.columns) + 1, np.int64) for _ in range(2))
        self._top = np.zeros(8, np.int64)
        self._false_s, self._false_append_s = (np.zeros(len(lowered.triggers), np.int32) for _ in range(2))
        self._source_bounds = np.zeros((sources + 1, 4), np.float64)
        self._field_bounds = np.zeros((len(lowered.columns) + 1, 4), np.float64)
        self._float_bounds = np.zeros((lowered.floats + 1, 3), np.float64)
        self._code_bounds = np.zeros(lowered.codes + 1, np.int64)
        self._needed = np.zeros(len(lowered.code) + 1, np.int8)
        self._make_pools()

    def _make_pools(self) -> None:
        """The pools, with a page of each constant at the beginning."""
        constants = self.lowered.constants
        fixed = len(constants) * self._page
        self._ints = np.empty(self._pool, np.int64)
        self._numbers = np.empty(self._pool + fixed, np.float64)
        self._conditions = np.empty(self._pool + fixed, np.int8)
        self._positions = np.empty(self._pool, np.int64)
        self._sums = np.empty((10, self._scratch), np.float64)
        self._numbers[:fixed] = np.repeat(constants, self._page)
        self._conditions[:fixed] = np.repeat(constants, self._page).astype(np.int8)
        self._fixed = fixed

    def run(self, batches: Batches, append_ms: Ints, segments: Sequence[Segment]) -> Outcome:
        """Evaluates segments. ``append_ms`` says of each batch when the broker had it."""
        memories = [b"" if s.alone else s.memory for s in segments]
        blob = np.frombuffer(b"".join(memories), np.uint8)
        sizes = np.array([len(m) for m in memories], np.int64)
        first = np.cumsum([0, *(len(s.batches) for s in segments)], dtype=np.int64)
        places = np.array([place for s in segments for place in s.batches], np.int64)
        end_ns = np.array([s.end_ns for s in segments], np.int64)
        forget_ns = np.array([s.forget_ns for s in segments], np.int64)
        alone = np.array([s.alone for s in segments], np.bool_)
        packed_at = np.zeros(len(segments) + 1, np.int64)
        counts, need = np.zeros(2, np.int64), np.zeros(2, np.int64)
        low, rules = self.lowered, self._rules
        while True:
            status = vehicles.run(
                batches.data, batches.pieces, np.ascontiguousarray(batches.start_ns),
                np.ascontiguousarray(batches.utc_ns), append_ms, np.ascontiguousarray(batches.frame_at),
                places, first, end_ns, forget_ns, alone, blob, np.cumsum(sizes) - sizes, sizes,
                low.kinds, low.plain, low.group_first, low.reach_ns, low.code, low.main, low.float_made,
                low.code_made,
                low.unions, low.union_first,
                low.constants, low.triggers, low.detail_first, self._named_first, self._named, self._evidence_first,
                self._evidence, rules.always, rules.fenced, rules.interval_ns, rules.from_ns, rules.until_ns,
                rules.memory_s, self._false_s, self._false_append_s, self._queries, self._floats, self._codes,
                self._ints,
                self._numbers, self._conditions, self._positions, self._sums, self._page, self._fixed, self._fixed,
                self._timelines, self._cadences, self._memo, *self._unions_made, self._parts, self._source_tl,
                self._source_at, self._known_at, self._groups, self._field_at, self._listed_at, self._top,
                self._source_bounds, self._field_bounds, self._float_bounds, self._code_bounds, self._needed,
                self._candidates, self._details, self._packed, packed_at, counts, need,
            )  # fmt: skip
            if status == 0:
                break
            self._make_room(status, need)
        data = self._packed.data
        memories = [bytes(data[a:b]) for a, b in zip(packed_at[:-1].tolist(), packed_at[1:].tolist(), strict=True)]
        return Outcome(tuple(self._moments(places, first, int(counts[0]))), tuple(memories))

    def _make_room(self, status: int, need: Ints) -> None:
        wanted = int(need[0])
        if status == FULL_CANDIDATES:
            self._candidates = np.zeros((wanted, 5), np.int64)
        elif status == FULL_DETAILS:
            self._details = np.zeros(wanted, np.float64)
        elif status == FULL_PACKED:
            self._packed = np.zeros(wanted, np.uint8)
        else:
            if status == FULL_PAGE:
                self._page = 2 * wanted
            self._pool = max(self._pool, wanted)
            self._scratch = max(self._scratch, int(need[1]))
            self._make_pools()

    def _moments(self, places: Ints, first: Ints, count: int) -> list[Moment]:
        found = []
        for segment, place, trigger, onset_ns, at in self._candidates[:count].tolist():
            names = len(self.lowered.named[trigger])
            values = self._details[at : at + names + len(self.lowered.evidence[trigger])].tolist()
            named = tuple(v == 2 for v in values[:names])
            found.append(Moment(segment, int(places[place]), trigger, onset_ns, named, tuple(values[names:])))
        return found

"""Runs a lowered program over many vehicles' batches, and holds the arrays that this needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fleetloop.triggerlang.kernels import Ints, vehicles
from fleetloop.triggerlang.kernels.arguments import Log, Output, Pools, Rules, Tables
from fleetloop.triggerlang.kernels.opcodes import TRUE
from fleetloop.triggerlang.kernels.tables import (
    CAD_WIDTH,
    CANDIDATE_WIDTH,
    DONE,
    FOUND,
    FULL_CANDIDATES,
    FULL_DETAILS,
    FULL_PACKED,
    FULL_PAGE,
    G_WIDTH,
    MEMO_SLOTS,
    MEMO_WIDTH,
    Q_WIDTH,
    ROOM,
    SCRATCH_ROOM,
    TL_WIDTH,
    TOPS,
    U_MEMBERS,
)
from fleetloop.triggerlang.lowering import Lowered
from fleetloop.triggerlang.reading import Batches

__all__ = ["Machine", "Moment", "Outcome", "Rules", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One vehicle and boot: what is remembered, and new batches in the order of time."""

    memory: bytes
    """What an earlier run left to be remembered; empty for nothing."""
    batches: Sequence[int]
    """Positions within ``Batches``."""
    end_ns: int
    """Monotonic time of the last instant of any column."""
    forget_ns: int = -1
    """Remembered points up to here are forgotten first; -1 for none."""
    late: bool = False
    """A late batch: it is evaluated without memory, and nothing is remembered of it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment at which a trigger fires."""

    segment: int
    """Position within the segments of the run."""
    batch: int
    """Position within ``Batches``."""
    trigger: int
    onset_ns: int
    """Monotonic time."""
    named: tuple[bool, ...]
    """Whether each of the trigger's named conditions holds."""
    evidence: tuple[float, ...]
    """The evidence's values; NaN for unknown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    moments: tuple[Moment, ...]
    memories: tuple[bytes, ...]
    """For each segment what has to be remembered."""


class Machine:
    """A lowered program with its rules and its room. Only one thread at a time may run it."""

    def __init__(self, lowered: Lowered, rules: Rules) -> None:
        self.lowered = lowered
        self._rules = rules
        # First sizes; `_make_room` enlarges what a vehicle does not fit into.
        self._page = 512
        self._pool = 1 << 16
        self._scratch = 1024
        self._candidates = np.zeros((1024, CANDIDATE_WIDTH), np.int64)
        self._details = np.zeros(4096, np.float64)
        self._packed = np.zeros(1 << 18, np.uint8)
        self._tables = _tables(lowered)
        self._pools = self._make_pools()

    def _make_pools(self) -> Pools:
        """The pools, with a page of each constant at the beginning."""
        constants = self.lowered.program.constants
        fixed = len(constants) * self._page
        pools = Pools(
            times=np.empty(self._pool, np.int64),
            numbers=np.empty(self._pool + fixed, np.float64),
            truths=np.empty(self._pool + fixed, np.int8),
            positions=np.empty(self._pool, np.int64),
            sums=np.empty((10, self._scratch), np.float64),
            page=self._page,
            constants=fixed,
        )
        pools.numbers[:fixed] = np.repeat(constants, self._page)
        pools.truths[:fixed] = np.repeat(constants, self._page).astype(np.int8)
        return pools

    def run(self, batches: Batches, append_ms: Ints, segments: Sequence[Segment]) -> Outcome:
        """Evaluates segments. ``append_ms``: (batches,) the broker's time of each batch in milliseconds."""
        log = _log(batches, append_ms, segments)
        while True:
            output = Output(
                candidates=self._candidates,
                details=self._details,
                packed=self._packed,
                packed_at=np.zeros(len(segments) + 1, np.int64),
                counts=np.zeros(2, np.int64),
                need=np.zeros(2, np.int64),
            )
            status = vehicles.run(log, self.lowered.program, self._rules, self._pools, self._tables, output)
            if status == DONE:
                break
            self._make_room(status, output.need)
        packed, ends = output.packed.data, output.packed_at.tolist()
        memories = tuple(bytes(packed[a:b]) for a, b in pairwise(ends))
        return Outcome(tuple(self._moments(log, output)), memories)

    def _make_room(self, status: int, need: Ints) -> None:
        """Enlarges what was too small; the run is repeated then."""
        room = int(need[ROOM])
        if status == FULL_CANDIDATES:
            self._candidates = np.zeros((room, CANDIDATE_WIDTH), np.int64)
        elif status == FULL_DETAILS:
            self._details = np.zeros(room, np.float64)
        elif status == FULL_PACKED:
            self._packed = np.zeros(room, np.uint8)
        else:
            if status == FULL_PAGE:
                self._page = 2 * room
            self._pool = max(self._pool, room)
            self._scratch = max(self._scratch, int(need[SCRATCH_ROOM]))
            self._pools = self._make_pools()

    def _moments(self, log: Log, output: Output) -> Iterator[Moment]:
        for segment, batch, trigger, onset_ns, at in output.candidates[: output.counts[FOUND]].tolist():
            names = self.lowered.named[trigger]
            values = output.details[at : at + names + self.lowered.evidence[trigger]].tolist()
            named = tuple(v == TRUE for v in values[:names])
            yield Moment(segment, int(log.batches[batch]), trigger, onset_ns, named, tuple(values[names:]))


def _log(batches: Batches, append_ms: Ints, segments: Sequence[Segment]) -> Log:
    memories = [b"" if s.late else s.memory for s in segments]
    sizes = np.array([len(m) for m in memories], np.int64)
    return Log(
        data=batches.data,
        pieces=batches.pieces,
        start_ns=np.ascontiguousarray(batches.start_ns),
        utc_ns=np.ascontiguousarray(batches.utc_ns),
        append_ms=append_ms,
        frame_at=np.ascontiguousarray(batches.frame_at),
        batches=np.array([batch for s in segments for batch in s.batches], np.int64),
        segment_first=np.cumsum([0, *(len(s.batches) for s in segments)], dtype=np.int64),
        end_ns=np.array([s.end_ns for s in segments], np.int64),
        forget_ns=np.array([s.forget_ns for s in segments], np.int64),
        late=np.array([s.late for s in segments], np.bool_),
        memory=np.frombuffer(b"".join(memories), np.uint8),
        memory_at=np.cumsum(sizes) - sizes,
        memory_size=sizes,
    )


def _tables(lowered: Lowered) -> Tables:
    """Tables that are large enough for every vehicle: their sizes depend only on the program."""
    program = lowered.program
    sources, unions, columns = len(program.reach_ns), len(program.union_first), len(lowered.columns)
    numbers, truths = len(program.number_writer), len(program.truth_writer)

    def ints(*shape: int) -> Ints:
        return np.zeros(shape, np.int64)

    return Tables(
        tops=ints(TOPS),
        timelines=ints(sources + unions + 2, TL_WIDTH),
        cadences=ints(sources + unions + 2, CAD_WIDTH),
        new_unions=ints(unions + 2, sources + 2 + U_MEMBERS),
        full_unions=ints(unions + 2, sources + 2 + U_MEMBERS),
        members=ints(sources + unions + 4),
        source_timeline=ints(sources + 1),
        source_at=ints(sources + 1),
        known_at=ints(sources + 1),
        groups=ints(len(program.group_first), G_WIDTH),
        field_at=ints(columns + 1),
        listed_at=ints(columns + 1),
        queries=ints(lowered.queries, Q_WIDTH),
        number_at=ints(numbers + 1),
        truth_at=ints(truths + 1),
        source_ranges=np.zeros((sources + 1, 4), np.float64),
        field_ranges=np.zeros((columns + 1, 4), np.float64),
        number_ranges=np.zeros((numbers + 1, 3), np.float64),
        truth_ranges=ints(truths + 1),
        needed=np.zeros(len(program.instructions) + 1, np.int8),
        memo=ints(MEMO_SLOTS + 1, MEMO_WIDTH),
        false_s=np.zeros(len(program.decisions), np.int32),
        false_append_s=np.zeros(len(program.decisions), np.int32),
    )

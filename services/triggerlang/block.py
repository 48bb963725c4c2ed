"""Many vehicles' telemetry as flat arrays: what lets one array operation serve all vehicles of a poll.

Every instant gets a key: its vehicle's place in the block times a span, plus the time since that vehicle's
origin. Keys rise over the whole block and vehicles lie further apart than any window, so one binary search
answers for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetdomain.frames import Column, FrameBatch
from triggerlang.program import Program

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tail:
    """What is remembered of one source: (n,) monotonic ns, values per name, and list lengths for a track
    group.
    """

    times: Ints
    values: Mapping[str, npt.NDArray[Any]]
    """A signal's only name is the empty one."""
    counts: Ints | None = None


History = Mapping[str, Tail]
"""Remembered points of one vehicle and boot, by source."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One vehicle and boot in a block: what is remembered, and new batches, each starting after all before
    it.
    """

    history: History
    batches: Sequence[FrameBatch]
    end_ns: int
    """Monotonic time of the last instant of any column."""


def latest_ns(batch: FrameBatch) -> int:
    """Monotonic time of a batch's last instant, in whichever column it is."""
    last = int(batch.frame_offsets_ns[-1])
    for column in batch.columns.values():
        if column.offsets_ns is not None and len(column.offsets_ns):
            last = max(last, int(column.offsets_ns[-1]))
    return batch.start_monotonic_ns + last


@dataclass(frozen=True, slots=True, eq=False)
class Instants:
    """Rising keys, and the positions of those that are not from the history."""

    keys: Ints
    new: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A source's instants and raw values per name; for a track group, also the length of each list."""

    instants: Instants
    values: Mapping[str, npt.NDArray[Any]]
    counts: Ints | None = None


class Block:
    """The segments' sources, joined on demand."""

    def __init__(self, program: Program, segments: Sequence[Segment]) -> None:
        self.program = program
        self.segments = segments
        memory_ns = program.memory_ns
        starts = np.array([s.batches[0].start_monotonic_ns for s in segments], np.int64)
        self.ends_ns = np.array([s.end_ns for s in segments], np.int64)
        longest_ns = int((self.ends_ns - starts).max(initial=0))
        self.span_ns = 3 * memory_ns + longest_ns + 1
        if self.span_ns * (len(segments) + 1) >= 2**63:
            raise OverflowError(f"{len(segments)} vehicles over {longest_ns} ns do not fit one block; poll less")
        self.firsts = np.arange(len(segments), dtype=np.int64) * self.span_ns
        self.bases = self.firsts - starts + 2 * memory_ns
        """Add to a segment's monotonic time to get its key."""
        self._frames: dict[tuple[int, int], Ints] = {}
        self._tails: dict[tuple[int, int], Ints] = {}
        self._instants: dict[tuple[int, ...], Instants] = {}
        self._points: dict[str, Points] = {}

    def points(self, source: str) -> Points:
        """A signal's or track group's points over all segments."""
        known = self._points.get(source)
        if known is None:
            known = self._points[source] = self._join(source)
        return known

    def segment_of(self, keys: Ints) -> Ints:
        """Which segment each key belongs to."""
        return keys // self.span_ns

    def times_of(self, keys: Ints) -> Ints:
        """Monotonic nanoseconds of keys."""
        result: Ints = keys - self.bases[self.segment_of(keys)]
        return result

    def _join(self, source: str) -> Points:
        group = source in self.program.groups
        names = ("Id", *self.program.groups[source]) if group else ("",)
        keys: list[Ints] = []
        values: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}
        counts: list[Ints] = []
        new: list[bool] = []
        for place, segment in enumerate(self.segments):
            tail = segment.history.get(source)
            if tail is not None and len(tail.times):
                keys.append(self._tail_keys(tail.times, place))
                new.append(False)
                for name in names:
                    values[name].append(tail.values[name])
                if tail.counts is not None:
                    counts.append(tail.counts)
            for batch in segment.batches:
                column = batch.columns.get(f"{source}.Id" if group else source)
                if column is None:
                    continue
                keys.append(self._batch_keys(batch, column, place))
                new.append(True)
                if not group:
                    values[""].append(column.values)
                    continue
                splits = column.splits
                if splits is None:
                    raise ValueError(f"{source}.Id is not ragged: only checked batches may come here")
                ends = splits.astype(np.int64)
                counts.append(ends[1:] - ends[:-1])
                for name in names:
                    listed = batch.columns.get(f"{source}.{name}")
                    absent = np.full(int(splits[-1]), np.nan)
                    values[name].append(absent if listed is None else listed.values)
        instants = self._interned(keys, new)
        joined = {n: np.concatenate(v) if v else np.zeros(0) for n, v in values.items()}
        if group:
            lengths = np.concatenate(counts) if counts else np.zeros(0, np.int64)
            return _last_lists(Points(instants, joined, lengths))
        return _last_values(Points(instants, joined))

    def _batch_keys(self, batch: FrameBatch, column: Column, place: int) -> Ints:
        shift = batch.start_monotonic_ns + self.bases[place]
        if column.offsets_ns is not None:
            own: Ints = column.offsets_ns + shift
            return own
        known = self._frames.get((id(batch), place))
        if known is None:
            known = self._frames[id(batch), place] = batch.frame_offsets_ns + shift
        return known

    def _tail_keys(self, times: Ints, place: int) -> Ints:
        known = self._tails.get((id(times), place))
        if known is None:
            known = self._tails[id(times), place] = times + self.bases[place]
        return known

    def _interned(self, keys: list[Ints], new: list[bool]) -> Instants:
        """Sources with the same pieces share one object, which the evaluation then recognises."""
        identity = tuple(map(id, keys))
        known = self._instants.get(identity)
        if known is None:
            joined = np.concatenate(keys) if keys else np.zeros(0, np.int64)
            fresh = np.repeat(np.array(new, bool), [len(k) for k in keys])
            known = self._instants[identity] = _Held(joined, np.flatnonzero(fresh), keys)
        return known

    def tails(self) -> list[History]:
        """What each segment has to remember after this block."""
        kept: list[dict[str, Tail]] = [{} for _ in self.segments]
        shared: dict[tuple[int, int], list[Ints]] = {}
        sources = [(s, reach_ns) for s, reach_ns in self.program.signals.items()]
        sources += [(g, reach_ns) for g, reach_ns in self.program.group_reach_ns.items()]
        for source, reach_ns in sources:
            points = self.points(source)
            keys = points.instants.keys
            bounds = np.searchsorted(keys, np.append(self.firsts, len(self.firsts) * self.span_ns))
            cuts = self.ends_ns + self.bases - reach_ns
            # one point before the reach stays: it is what is known at the reach's beginning
            lows = np.maximum(np.searchsorted(keys, cuts, side="right") - 1, bounds[:-1])
            identity = (id(points.instants), reach_ns)
            if identity not in shared:
                ranges = zip(lows.tolist(), bounds[1:].tolist(), self.bases.tolist(), strict=True)
                shared[identity] = [keys[a:b] - base for a, b, base in ranges]
            times = shared[identity]
            starts = None if points.counts is None else np.append(0, np.cumsum(points.counts))
            for place, (low, high) in enumerate(zip(lows.tolist(), bounds[1:].tolist(), strict=True)):
                if low == high:
                    continue
                if starts is None or points.counts is None:
                    kept[place][source] = Tail(times[place], {"": points.values[""][low:high].copy()})
                    continue
                a, b = int(starts[low]), int(starts[high])
                lists = {name: values[a:b].copy() for name, values in points.values.items()}
                kept[place][source] = Tail(times[place], lists, points.counts[low:high].copy())
        return list(kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Held(Instants):
    """Keeps the pieces alive, since their ids name the whole."""

    pieces: list[Ints]


def _last_values(points: Points) -> Points:
    """Of several points at one instant the last counts."""
    keys = points.instants.keys
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, bool)
    if last.all():
        return points
    return Points(_thinned(points.instants, last), {n: v[last] for n, v in points.values.items()})


def _last_lists(points: Points) -> Points:
    keys = points.instants.keys
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, bool)
    if last.all() or points.counts is None:
        return points
    entries = np.repeat(last, points.counts)
    values = {n: v[entries] for n, v in points.values.items()}
    return Points(_thinned(points.instants, last), values, points.counts[last])


def _thinned(instants: Instants, kept: npt.NDArray[np.bool_]) -> Instants:
    fresh = np.zeros(len(kept), bool)
    fresh[instants.new] = True
    return Instants(instants.keys[kept], np.flatnonzero(fresh[kept]))

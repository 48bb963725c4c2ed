"""From conditions over time to moments: where each condition turned true, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triggerlang.block import Block
from triggerlang.evaluate import Query

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Edges:
    """Falsehoods of one trigger as known per segment: event second and append second, -1 for none."""

    false_s: npt.NDArray[np.int32]
    false_append_s: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """A query's instants with what the edge rule needs of them; shared by all triggers with that timeline."""

    keys: Ints
    segment: Ints
    times_ns: Ints
    append_ms: Ints
    last_of: Ints
    """(segments,) position after each segment's last instant."""
    first_of: Ints

    def seconds(self, places: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Event and append second of instants."""
        return (self.times_ns[places] // 10**9).astype(np.int32), (self.append_ms[places] // 1000).astype(np.int32)


def moments_of(block: Block, query: Query, batch_keys: Ints, batch_append_ms: Ints) -> Moments:
    """``batch_keys`` are the rising keys of the batches' starts, ``batch_append_ms`` when each was appended."""
    segment = block.segment_of(query.keys)
    batch = np.searchsorted(batch_keys, query.keys, side="right") - 1
    bounds = np.searchsorted(segment, np.arange(len(block.segments) + 1))
    return Moments(
        query.keys,
        segment,
        block.times_of(query.keys),
        batch_append_ms[np.maximum(batch, 0)],
        bounds[1:],
        bounds[:-1],
    )


def rising(codes: npt.NDArray[np.int8], moments: Moments, before: Edges, memory_s: int) -> tuple[Ints, Edges]:
    """Positions at which a condition turns true, and the edges after it.

    It turns true where it is known to be true and was last known to be false, both within the memory by event
    time and by the broker's clock. Unknown in between changes nothing.
    """
    nothing = np.zeros(0, np.int64)
    if len(codes) == 0:
        return nothing, before
    after = Edges(before.false_s.copy(), before.false_append_s.copy())
    if codes.max() == 0:
        have = np.flatnonzero(moments.last_of > moments.first_of)
        after.false_s[have], after.false_append_s[have] = moments.seconds(moments.last_of[have] - 1)
        return nothing, after
    known = np.flatnonzero(codes != 1)
    if len(known) == 0:
        return nothing, before
    is_true, segment = codes[known] == 2, moments.segment[known]
    opens = np.append(True, segment[1:] != segment[:-1])
    candidates = np.flatnonzero(is_true & (opens | np.append(False, ~is_true[:-1])))
    onsets = nothing
    if len(candidates):
        place = known[candidates]
        previous = known[np.maximum(candidates - 1, 0)]
        false_s, false_append_s = moments.seconds(previous)
        remembered = opens[candidates]
        false_s = np.where(remembered, before.false_s[segment[candidates]], false_s)
        false_append_s = np.where(remembered, before.false_append_s[segment[candidates]], false_append_s)
        now_s, now_append_s = moments.seconds(place)
        fresh = (now_s - false_s <= memory_s) & (now_append_s - false_append_s <= memory_s)
        onsets = place[(false_s >= 0) & fresh]
    closes = np.append(segment[1:] != segment[:-1], True)
    last, last_segment = known[closes], segment[closes]
    ended_false = codes[last] == 0
    after.false_s[last_segment], after.false_append_s[last_segment] = -1, -1
    falses = last_segment[ended_false]
    after.false_s[falses], after.false_append_s[falses] = moments.seconds(last[ended_false])
    return onsets, after


def first_per_slot(positions: Ints, moments: Moments, interval_ns: int) -> Ints:
    """Of several positions of one vehicle in one slot the first."""
    if len(positions) < 2:
        return positions
    slot, segment = moments.times_ns[positions] // interval_ns, moments.segment[positions]
    opens = np.append(True, (slot[1:] != slot[:-1]) | (segment[1:] != segment[:-1]))
    first: Ints = positions[opens]
    return first

"""What is remembered of a vehicle between two runs, as one run of bytes.

First its edges, that is when each trigger's condition was last false (event second and the broker's second): the
number of different pairs as int32, the pairs as int32, and for each trigger the number of its pair as uint8. With
more than 255 pairs that number is -1, and a pair follows for each trigger.

Then its points. int32 words: the number of stored timelines; the length of each; per source its timeline and how many
of the timeline's last instants are its own; per group its entries. The words are filled up to a multiple of 8 bytes.
Then the timelines' int64 instants; the scalar signals' values in their own types; per group the lists' lengths as
int32, the int64 ids, and the fields as float64, or as truth values for conditions. Each array begins at a multiple of
8 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fleetloop.triggerlang.kernels import Bytes, Int32s, Ints, int64, kernel
from fleetloop.triggerlang.kernels.search import upper_bound
from fleetloop.triggerlang.kernels.tables import TOP_POSITIONS, allocate
from fleetloop.triggerlang.kernels.values import filled

_MOST_PAIRS = 255
"""What the number of a pair, a byte, can tell apart; each number is below it."""
EDGE_BYTES = 9
"""Most bytes per trigger that the edges take, beside ``EDGE_HEAD_BYTES``."""
EDGE_HEAD_BYTES = 16


@kernel
def read_edges(memory: Bytes, at: int, size: int, false_s: Int32s, false_append_s: Int32s) -> int:
    """Fills the (triggers,) edges, with -1 where nothing is remembered; returns where the points begin."""
    triggers = len(false_s)
    if size == 0:
        false_s[:] = -1
        false_append_s[:] = -1
        return at
    pairs = memory[at : at + 4].view(np.int32)[0]
    number = pairs if pairs >= 0 else triggers
    table = memory[at + 4 : at + 4 + 8 * number].view(np.int32)
    which = at + 4 + 8 * number
    for i in range(triggers):
        k = int64(memory[which + i]) if pairs >= 0 else i
        false_s[i], false_append_s[i] = table[2 * k], table[2 * k + 1]
    return at + filled(4 + 8 * number + (triggers if pairs >= 0 else 0))


@kernel
def find_pair(table: Int32s, pairs: int, a: int, b: int) -> int:
    """The number of a pair in the table, or -1."""
    for k in range(pairs):
        if table[2 * k] == a and table[2 * k + 1] == b:
            return k
    return -1


@kernel
def write_edges(false_s: Int32s, false_append_s: Int32s, out: Bytes, at: int) -> int:
    """The reverse of ``read_edges``; returns where the points begin.

    Needs room for EDGE_HEAD_BYTES + EDGE_BYTES * triggers bytes.
    """
    triggers = len(false_s)
    table = out[at + 4 : at + 4 + 8 * triggers].view(np.int32)
    pairs = 0
    for i in range(triggers):
        if find_pair(table, pairs, false_s[i], false_append_s[i]) < 0:
            if pairs == _MOST_PAIRS:
                pairs = -1
                break
            table[2 * pairs], table[2 * pairs + 1] = false_s[i], false_append_s[i]
            pairs += 1
    out[at : at + 4].view(np.int32)[0] = pairs
    if pairs < 0:
        for i in range(triggers):
            table[2 * i], table[2 * i + 1] = false_s[i], false_append_s[i]
        return at + filled(4 + 8 * triggers)
    which = at + 4 + 8 * pairs
    for i in range(triggers):
        out[which + i] = find_pair(table, pairs, false_s[i], false_append_s[i])
    return at + filled(4 + 8 * pairs + triggers)


class Points(NamedTuple):
    """The sections of a vehicle's remembered points."""

    words: Int32s
    """The int32 words; empty where nothing is remembered."""
    times: Ints
    """The timelines' instants, end to end."""
    timelines: int
    """Number of stored timelines."""
    source_words: int
    """Position in ``words`` of the sources' pairs."""
    group_words: int
    """Position in ``words`` of the groups' entries."""
    first_at: int
    """Position in ``Pools.positions`` of (timelines + 1,) first instants of the timelines in ``times``."""
    values_at: int
    """Position in ``Log.memory`` of the first source's values."""


class Tail(NamedTuple):
    """The remembered points of one source."""

    timeline: int
    """Which remembered timeline they belong to; -1 where none stays."""
    rows: int
    """How many are stored."""
    dropped: int
    """How many of them, the first ones, are forgotten now."""
    kept: int
    """rows - dropped."""
    at: int
    """Position in ``Points.times`` of the first that stays."""


@kernel
def points_of(memory: Bytes, at: int, size: int, sources: int, groups: int, positions: Ints, tops: Ints) -> Points:
    """Finds the sections of the points that begin at memory[at]; ``size`` 0 means that nothing is remembered."""
    if size == 0:
        nothing = memory[0:0]
        return Points(nothing.view(np.int32), nothing.view(np.int64), 0, 0, 0, tops[TOP_POSITIONS], at)
    timelines = int64(memory[at : at + 4].view(np.int32)[0])
    source_words = 1 + timelines
    group_words = source_words + 2 * sources
    times_at = at + filled(4 * (group_words + groups))
    words = memory[at:times_at].view(np.int32)
    first_at = allocate(tops, TOP_POSITIONS, timelines + 1)
    total = 0
    for i in range(timelines):
        positions[first_at + i] = total
        total += words[1 + i]
    positions[first_at + timelines] = total
    times = memory[times_at : times_at + 8 * total].view(np.int64)
    return Points(words, times, timelines, source_words, group_words, first_at, times_at + 8 * total)


@kernel
def tail_of(points: Points, source: int, forget_ns: int, positions: Ints) -> Tail:
    """What stays of a source's points when those up to ``forget_ns`` are forgotten."""
    pair = points.source_words + 2 * source
    if points.timelines == 0 or points.words[pair + 1] == 0:
        return Tail(-1, 0, 0, 0, 0)
    timeline, rows = int64(points.words[pair]), int64(points.words[pair + 1])
    begin = positions[points.first_at + timeline + 1] - rows
    at = upper_bound(points.times, begin, begin + rows, forget_ns)
    dropped = at - begin
    return Tail(timeline if dropped < rows else -1, rows, dropped, rows - dropped, at)

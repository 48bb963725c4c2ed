"""Where a query's instants lie among a timeline's."""

from __future__ import annotations

from fleetloop.triggerlang.kernels import Ints, inlined, int64, kernel
from fleetloop.triggerlang.kernels.arguments import Pools, Tables
from fleetloop.triggerlang.kernels.bounds import covered, longest_gap
from fleetloop.triggerlang.kernels.search import upper_bounds
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_ENTRIES,
    G_TIMES,
    G_TRACKS,
    HASH_FACTOR,
    MEMO_AT,
    MEMO_GENERATION,
    MEMO_QUERY,
    MEMO_SHIFT,
    MEMO_SLOTS,
    MEMO_TIMELINE,
    MEMO_USED,
    Q_AT,
    Q_CADENCE,
    Q_GROUP,
    Q_ID,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    TL_AT,
    TL_CADENCE,
    TL_GAP,
    TL_LEN,
    TL_NEW,
    TOP_POSITIONS,
    allocate,
)


@kernel
def find_memo(memo: Ints, timeline: int, query_id: int, shift: int) -> int:
    """The row that holds the positions of a query in a timeline, or the free row where they belong."""
    h = (timeline * 31 + query_id) * 31 + shift // 1000
    # Of the product's upper bits, which depend on all bits of the key, as many as there are slots.
    h = (h * int64(HASH_FACTOR)) >> 40 & (MEMO_SLOTS - 1)
    while memo[h, MEMO_GENERATION] == memo[MEMO_SLOTS, MEMO_GENERATION]:
        if memo[h, MEMO_TIMELINE] == timeline and memo[h, MEMO_QUERY] == query_id and memo[h, MEMO_SHIFT] == shift:
            break
        h = (h + 1) & (MEMO_SLOTS - 1)
    return h


@kernel
def write_memo(memo: Ints, h: int, timeline: int, query_id: int, shift: int, at: int) -> None:
    """Notes where the positions of a query in a timeline begin, unless the table is half full."""
    if memo[MEMO_SLOTS, MEMO_USED] < MEMO_SLOTS // 2:
        memo[MEMO_SLOTS, MEMO_USED] += 1
        row = memo[h]
        row[MEMO_GENERATION], row[MEMO_TIMELINE] = memo[MEMO_SLOTS, MEMO_GENERATION], timeline
        row[MEMO_QUERY], row[MEMO_SHIFT], row[MEMO_AT] = query_id, shift, at


@kernel
def own_position(j: int, timelines: Ints, query: Ints) -> int:
    """Where a query's instants begin within timeline j, if they are a part of it as they are; else -1."""
    position = -1
    if query[Q_TIMELINE] == j:
        position = 0
    elif query[Q_CADENCE] >= 0 and query[Q_CADENCE] == timelines[j, TL_CADENCE]:
        position = timelines[j, TL_NEW]
    return position


@inlined
def positions_in_timeline(j: int, query: Ints, span: int, pools: Pools, tables: Tables) -> int:
    """For each instant of a query the position after the last instant of timeline j that is at or before it.

    Each instant is shifted back by ``span``, in addition to the query's own shift. Positions count from the
    timeline's first instant. Earlier results are found in the memo.

    Returns:
        The position in ``Pools.positions`` of the (Q_LEN,) results.
    """
    shift = query[Q_SHIFT] + span
    memo = tables.memo
    h = find_memo(memo, j, query[Q_ID], shift)
    if memo[h, MEMO_GENERATION] == memo[MEMO_SLOTS, MEMO_GENERATION]:
        at: int = memo[h, MEMO_AT]
    else:
        n = query[Q_LEN]
        at = allocate(tables.tops, TOP_POSITIONS, n)
        out = pools.positions[at : at + n]
        own = own_position(j, tables.timelines, query) if shift == 0 else -1
        if own >= 0:
            for k in range(n):
                out[k] = own + k + 1
        else:
            begin, length = tables.timelines[j, TL_AT], tables.timelines[j, TL_LEN]
            times = pools.times[begin : begin + length]
            instants = pools.times[query[Q_AT] : query[Q_AT] + n]
            search_timeline(times, instants, shift, query[Q_GROUP], tables.groups, pools.positions, out)
        write_memo(memo, h, j, query[Q_ID], shift, at)
    return at


@kernel
def search_timeline(
    times: Ints, instants: Ints, shift: int, g: int, groups: Ints, positions: Ints, out: Ints
) -> None:
    """Searches a timeline for instants that rise, or, for entries of track group g >= 0, rise within each track."""
    if g < 0:
        upper_bounds(times, 0, len(times), instants, 0, len(instants), shift, out)
    else:
        group = groups[g]
        for track in range(group[G_TRACKS]):
            low, high = positions[group[G_BEGINS] + track], positions[group[G_BEGINS] + track + 1]
            upper_bounds(times, 0, len(times), instants, low, high, shift, out)


@kernel
def positions_in_tracks(group: Ints, shift: int, times: Ints, positions: Ints, out: Ints) -> None:
    """For each entry of a track group the position after the last entry of its track at or before it, shifted."""
    own = times[group[G_TIMES] : group[G_TIMES] + group[G_ENTRIES]]
    for track in range(group[G_TRACKS]):
        low, high = positions[group[G_BEGINS] + track], positions[group[G_BEGINS] + track + 1]
        upper_bounds(own, low, high, own, low, high, shift, out)


@kernel
def timeline_covers(j: int, query: Ints, span: int, timelines: Ints, times: Ints) -> bool:
    """Whether each of a query's instants has a point of a timeline less than a span before it."""
    n = query[Q_LEN]
    if j < 0 or query[Q_GROUP] >= 0 or timelines[j, TL_LEN] == 0:
        return False
    if n == 0:
        return True
    begin, length, at = timelines[j, TL_AT], timelines[j, TL_LEN], query[Q_AT]
    if timelines[j, TL_GAP] < 0:
        timelines[j, TL_GAP] = longest_gap(times[begin : begin + length])
    return covered(
        times[begin], times[begin + length - 1], timelines[j, TL_GAP], times[at], times[at + n - 1], query[Q_SHIFT],
        span,
    )  # fmt: skip


@kernel
def value_covers(j: int, query: Ints, span: int, timelines: Ints, times: Ints) -> bool:
    """Whether a signal has a value at each of a query's instants: its own, or one that is not too old."""
    if query[Q_SHIFT] == 0 and query[Q_GROUP] < 0 and own_position(j, timelines, query) >= 0:
        return True
    return timeline_covers(j, query, span, timelines, times)

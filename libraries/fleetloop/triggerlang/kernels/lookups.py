"""Where a query's instants lie among a timeline's, and what holds there."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.bounds import covered, longest_gap
from fleetloop.triggerlang.kernels.rolling import positions
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_ENTRIES,
    G_TIMES,
    G_TRACKS,
    MEMO,
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
    TOP_P,
)


@kernel
def note(memo, place, timeline_key, query_id, shift, at):
    """Remembers where a query's positions in a timeline begin."""
    if memo[MEMO, 1] < MEMO // 2:
        memo[MEMO, 1] += 1
        row = memo[place]
        row[0], row[1], row[2], row[3], row[4] = memo[MEMO, 0], timeline_key, query_id, shift, at


@kernel
def own_place(tl, j, query):
    """Where a query's instants begin within a timeline, where they are a part of its own; else -1."""
    if query[Q_TIMELINE] == j:
        return np.int64(0)
    if query[Q_CADENCE] >= 0 and query[Q_CADENCE] == tl[j, TL_CADENCE]:
        return tl[j, TL_NEW]
    return np.int64(-1)


@kernel
def bounds(timeline_key, begin, length, own_first, query, shift, groups, T, P, memo, top):
    """Where in P the positions of a query's instants in a timeline begin: after the last one at or before.

    ``begin`` and ``length`` say where the timeline is in T, ``own_first`` see ``own_place``. Positions count from
    ``begin``. What was looked up before is remembered in ``memo``.
    """
    shift = query[Q_SHIFT] + shift
    h = (timeline_key * 31 + query[Q_ID]) * 31 + shift // 1000
    h = (h * np.int64(-7046029254386353131)) >> 40 & (MEMO - 1)
    while memo[h, 0] == memo[MEMO, 0]:
        if memo[h, 1] == timeline_key and memo[h, 2] == query[Q_ID] and memo[h, 3] == shift:
            return memo[h, 4]
        h = (h + 1) & (MEMO - 1)
    at = top[TOP_P]
    n = query[Q_LEN]
    top[TOP_P] += n
    if shift == 0 and own_first >= 0:
        for k in range(n):
            P[at + k] = own_first + k + 1
        note(memo, h, timeline_key, query[Q_ID], shift, at)
        return at
    times = T[begin : begin + length]
    wanted = T[query[Q_AT] : query[Q_AT] + n]
    out = P[at : at + n]
    if query[Q_GROUP] < 0:
        positions(times, 0, length, wanted, 0, n, shift, out)
    else:
        g = groups[query[Q_GROUP]]
        for k in range(g[G_TRACKS]):
            low, high = P[g[G_BEGINS] + k], P[g[G_BEGINS] + k + 1]
            positions(times, 0, length, wanted, low, high, shift, out)
    note(memo, h, timeline_key, query[Q_ID], shift, at)
    return at


@kernel
def track_bounds(g, query, shift, T, P, out):
    """Like ``bounds`` for a track's own entries: each track among its own instants."""
    times = T[g[G_TIMES] : g[G_TIMES] + g[G_ENTRIES]]
    for k in range(g[G_TRACKS]):
        low, high = P[g[G_BEGINS] + k], P[g[G_BEGINS] + k + 1]
        positions(times, low, high, times, low, high, query[Q_SHIFT] + shift, out)


@kernel
def hold(values, times, after, wanted, shift, span, unknown, out):
    """The last value at or before each instant; unknown where there is none or it is older than the span."""
    for k in range(len(out)):
        p = after[k] - 1
        if p >= 0 and wanted[k] - shift - times[p] <= span:
            out[k] = values[p]
        else:
            out[k] = unknown


@kernel
def timeline_covers(j, queries, query, span, tl, T):
    """Whether each of a query's instants has a point of a timeline less than a span before it."""
    n = queries[query, Q_LEN]
    if j < 0 or queries[query, Q_GROUP] >= 0 or tl[j, TL_LEN] == 0:
        return False
    if n == 0:
        return True
    begin, length, at = tl[j, TL_AT], tl[j, TL_LEN], queries[query, Q_AT]
    if tl[j, TL_GAP] < 0:
        tl[j, TL_GAP] = longest_gap(T[begin : begin + length])
    return covered(
        T[begin], T[begin + length - 1], tl[j, TL_GAP], T[at], T[at + n - 1], queries[query, Q_SHIFT], span
    )


@kernel
def value_covers(j, queries, query, span, tl, T):
    """Whether a signal has a value at each of a query's instants: its own, or one that is not too old."""
    if queries[query, Q_SHIFT] == 0 and queries[query, Q_GROUP] < 0:
        cadence = queries[query, Q_CADENCE]
        if queries[query, Q_TIMELINE] == j or (cadence >= 0 and cadence == tl[j, TL_CADENCE]):
            return True
    return timeline_covers(j, queries, query, span, tl, T)

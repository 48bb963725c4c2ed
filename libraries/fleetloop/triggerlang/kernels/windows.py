"""Windows over the points of a vehicle's timeline, or over each track's own entries."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, Numbers, inlined, kernel
from fleetloop.triggerlang.kernels.arguments import Pools, Tables
from fleetloop.triggerlang.kernels.lookups import positions_in_timeline, positions_in_tracks
from fleetloop.triggerlang.kernels.opcodes import UNKNOWN, Op, rolls_conditions
from fleetloop.triggerlang.kernels.rolling import extreme, first, mean, slope, tallied
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_TRACKS,
    I_A,
    I_B,
    I_OP,
    I_RESULT,
    I_SPAN,
    I_WHAT,
    Q_AT,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    TOP_NUMBERS,
    TOP_POSITIONS,
    TOP_TRUTHS,
    allocate,
)


@inlined
def roll_numbers(
    row: Ints, shift: int, values: Numbers, times: Ints, ends: Ints, low: Ints, high: Ints, out: Numbers,
    scratch: int, pools: Pools,
) -> None:  # fmt: skip
    """One of the windows over numbers. ``sums``, and the positions from ``scratch`` on, are overwritten."""
    op, span, n, sums = row[I_OP], row[I_SPAN], len(values), pools.sums
    if op == Op.MIN or op == Op.MAX:
        sign = 1.0 if op == Op.MIN else -1.0
        extreme(sign, values, times, ends, shift, span, low, high, out, sums[0, :n], sums[1, :n])
    elif op == Op.MEAN:
        mean(values, times, ends, shift, span, low, high, out, sums[0:2, :n], sums[5:7, :n])
    elif op == Op.FIRST:
        first(values, low, high, out)
    else:
        following = pools.positions[scratch : scratch + n + 1]
        preceding = pools.positions[scratch + n + 1 : scratch + 2 * n + 2]
        slope(values, times, ends, shift, span, low, high, out, sums[0:5, :n], sums[5:10, :n], following, preceding)


@kernel
def roll_stretch(
    row: Ints, query: Ints, begin: int, size: int, n: int, low: Ints, high: Ints, to: int, scratch: int, pools: Pools,
    tables: Tables,
) -> None:  # fmt: skip
    """Windows over one stretch of points: a vehicle's whole timeline, or one track's entries.

    Args:
        row: The instruction.
        query: The instants at which windows end; those from ``begin`` on are this stretch's.
        begin: First point of the stretch, and first result.
        size: Points of the stretch.
        n: Results of the stretch.
        low: (n,) first point of each window, counted from the stretch's first.
        high: (n,) the point after the last.
        to: Position of the results of all stretches.
        scratch: Position in ``Pools.positions`` from which on they may be overwritten.
        pools: The values.
        tables: The registers and queries.
    """
    domain = tables.queries[row[I_B]]
    if rolls_conditions(row[I_OP]):
        at = tables.truth_at[row[I_A]] + begin
        truths, counts = pools.truths[to + begin : to + begin + n], pools.numbers[to + begin : to + begin + n]
        tallied(row[I_OP], pools.truths[at : at + size], low, high, truths, counts)
    else:
        at = tables.number_at[row[I_A]] + begin
        times = pools.times[domain[Q_AT] + begin : domain[Q_AT] + begin + size]
        ends = pools.times[query[Q_AT] + begin : query[Q_AT] + begin + n]
        out = pools.numbers[to + begin : to + begin + n]
        roll_numbers(row, query[Q_SHIFT], pools.numbers[at : at + size], times, ends, low, high, out, scratch, pools)


@kernel
def roll_tracks(row: Ints, query: Ints, to: int, pools: Pools, tables: Tables) -> None:
    """Windows over each track's own entries; each entry is the end of one."""
    group, positions = tables.groups[row[I_WHAT]], pools.positions
    n, shift = query[Q_LEN], query[Q_SHIFT]
    length = tables.queries[row[I_B], Q_LEN]
    low_at = allocate(tables.tops, TOP_POSITIONS, n)
    high_at = allocate(tables.tops, TOP_POSITIONS, n)
    low, high = positions[low_at : low_at + n], positions[high_at : high_at + n]
    positions_in_tracks(group, shift + row[I_SPAN], pools.times, positions, low)
    positions_in_tracks(group, shift, pools.times, positions, high)
    scratch = tables.tops[TOP_POSITIONS]
    for track in range(group[G_TRACKS]):
        begin, end = positions[group[G_BEGINS] + track], positions[group[G_BEGINS] + track + 1]
        size = end - begin
        lows, highs = positions[scratch : scratch + size], positions[scratch + size : scratch + 2 * size]
        for k in range(size):
            lows[k], highs[k] = low[begin + k] - begin, high[begin + k] - begin
        roll_stretch(row, query, begin, size, size, lows, highs, to, scratch + 2 * length, pools, tables)


@kernel
def roll(row: Ints, query: Ints, pools: Pools, tables: Tables) -> None:
    """Computes a window over the values of another query, its domain."""
    op = row[I_OP]
    domain = tables.queries[row[I_B]]
    n, length = query[Q_LEN], domain[Q_LEN]
    is_truth = op == Op.ANY or op == Op.ALL
    to = allocate(tables.tops, TOP_TRUTHS if is_truth else TOP_NUMBERS, n)
    register_at = tables.truth_at if is_truth else tables.number_at
    register_at[row[I_RESULT]] = to
    if length == 0:
        if is_truth:
            pools.truths[to : to + n] = UNKNOWN
        else:
            pools.numbers[to : to + n] = np.nan
    elif row[I_WHAT] >= 0:
        roll_tracks(row, query, to, pools, tables)
    else:
        j = domain[Q_TIMELINE]
        low_at = positions_in_timeline(j, query, row[I_SPAN], pools, tables)
        high_at = positions_in_timeline(j, query, 0, pools, tables)
        low, high = pools.positions[low_at : low_at + n], pools.positions[high_at : high_at + n]
        roll_stretch(row, query, 0, length, n, low, high, to, tables.tops[TOP_POSITIONS], pools, tables)

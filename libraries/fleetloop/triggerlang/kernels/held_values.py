"""Values that are known at other instants than those at which they were measured: the last one is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.triggerlang.kernels import Ints, Numbers, kernel
from fleetloop.triggerlang.kernels.arguments import Pools, Program, Tables
from fleetloop.triggerlang.kernels.lookups import own_position, positions_in_timeline, positions_in_tracks
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Op
from fleetloop.triggerlang.kernels.rolling import known_before
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_ENTRIES,
    G_LISTS,
    G_OWNER,
    G_TIMES,
    G_TRACKS,
    I_A,
    I_FIELD,
    I_OP,
    I_RESULT,
    I_SPAN,
    I_WHAT,
    Q_AT,
    Q_LEN,
    Q_SHIFT,
    TL_AT,
    TL_LEN,
    TOP_NUMBERS,
    TOP_POSITIONS,
    TOP_TRUTHS,
    allocate,
)


@kernel
def hold(
    values: npt.NDArray[Any], times: Ints, after: Ints, instants: Ints, shift: int, span: int, unknown: float,
    out: npt.NDArray[Any],
) -> None:  # fmt: skip
    """The last value at or before each instant; unknown where there is none or it is older than the span.

    ``after`` are the positions after the last instant at or before each, as ``positions_in_timeline`` finds them.
    """
    for k in range(len(out)):
        p = after[k] - 1
        if p >= 0 and instants[k] - shift - times[p] <= span:
            out[k] = values[p]
        else:
            out[k] = unknown


@kernel
def hold_known(
    values: Numbers, times: Ints, after: Ints, before: Ints, instants: Ints, shift: int, span: int, out: Numbers
) -> None:
    """Like ``hold`` for numbers, but passes over NaN: ``before`` are the positions of the last known values."""
    for k in range(len(out)):
        p = after[k] - 1
        if p >= 0:
            p = before[p]
        out[k] = values[p] if p >= 0 and instants[k] - shift - times[p] <= span else np.nan


@kernel
def positions_of_known(source: int, values: Numbers, positions: Ints, known_at: Ints, tops: Ints) -> int:
    """Where in the positions (len(values),) last known values of a signal are, found once per vehicle."""
    if known_at[source] < 0:
        known_at[source] = allocate(tops, TOP_POSITIONS, len(values))
        known_before(values, positions[known_at[source] : known_at[source] + len(values)])
    at: int = known_at[source]
    return at


@kernel
def hold_signal(row: Ints, query: Ints, pools: Pools, tables: Tables) -> None:
    """Computes a signal's held values at a query's instants, or points the register to its own values there."""
    op, result, source, span = row[I_OP], row[I_RESULT], row[I_WHAT], row[I_SPAN]
    n, shift = query[Q_LEN], query[Q_SHIFT]
    is_truth = op == Op.HOLD_TRUTH
    register_at = tables.truth_at if is_truth else tables.number_at
    j, at = tables.source_timeline[source], tables.source_at[source]
    if j >= 0 and op != Op.HOLD_KNOWN and shift == 0:
        own = own_position(j, tables.timelines, query)
        if own >= 0:
            register_at[result] = at + own
            return
    to = allocate(tables.tops, TOP_TRUTHS if is_truth else TOP_NUMBERS, n)
    register_at[result] = to
    if j < 0:
        if is_truth:
            pools.truths[to : to + n] = UNKNOWN
        else:
            pools.numbers[to : to + n] = np.nan
        return
    begin, length = tables.timelines[j, TL_AT], tables.timelines[j, TL_LEN]
    after_at = positions_in_timeline(j, query, 0, pools, tables)
    after = pools.positions[after_at : after_at + n]
    times = pools.times[begin : begin + length]
    instants = pools.times[query[Q_AT] : query[Q_AT] + n]
    if is_truth:
        truths = pools.truths[at : at + length]
        hold(truths, times, after, instants, shift, span, UNKNOWN, pools.truths[to : to + n])
        return
    numbers, out = pools.numbers[at : at + length], pools.numbers[to : to + n]
    if op == Op.HOLD_NUMBER:
        hold(numbers, times, after, instants, shift, span, np.nan, out)
    else:
        before_at = positions_of_known(source, numbers, pools.positions, tables.known_at, tables.tops)
        before = pools.positions[before_at : before_at + length]
        hold_known(numbers, times, after, before, instants, shift, span, out)


@kernel
def hold_field(row: Ints, query: Ints, pools: Pools, tables: Tables) -> None:
    """Computes a track field at the entries' instants, shifted, or points the register to the entries' own values."""
    group, at, span = tables.groups[row[I_WHAT]], tables.field_at[row[I_FIELD]], row[I_SPAN]
    n, shift = query[Q_LEN], query[Q_SHIFT]
    is_truth = row[I_OP] == Op.FIELD_TRUTH
    register_at = tables.truth_at if is_truth else tables.number_at
    if shift == 0:
        register_at[row[I_RESULT]] = at
        return
    scratch = tables.tops[TOP_POSITIONS]
    after = pools.positions[scratch : scratch + n]
    positions_in_tracks(group, shift, pools.times, pools.positions, after)
    times = pools.times[group[G_TIMES] : group[G_TIMES] + n]
    to = allocate(tables.tops, TOP_TRUTHS if is_truth else TOP_NUMBERS, n)
    register_at[row[I_RESULT]] = to
    for track in range(group[G_TRACKS]):
        low, high = pools.positions[group[G_BEGINS] + track], pools.positions[group[G_BEGINS] + track + 1]
        for k in range(low, high):
            p = after[k] - 1
            fresh = p >= low and times[k] - shift - times[p] <= span
            if is_truth:
                pools.truths[to + k] = pools.truths[at + p] if fresh else UNKNOWN
            else:
                pools.numbers[to + k] = pools.numbers[at + p] if fresh else np.nan


@kernel
def count_in_lists(group: Ints, truths_at: int, pools: Pools, trues: Ints, unknowns: Ints) -> None:
    """Per list of a group, of how many entries a condition is true, and of how many it is unknown."""
    trues[:] = 0
    unknowns[:] = 0
    for e in range(group[G_ENTRIES]):
        truth = pools.truths[truths_at + e]
        if truth == TRUE:
            trues[pools.positions[group[G_OWNER] + e]] += 1
        elif truth == UNKNOWN:
            unknowns[pools.positions[group[G_OWNER] + e]] += 1


@kernel
def hold_track_condition(row: Ints, query: Ints, program: Program, pools: Pools, tables: Tables) -> None:
    """Computes ``any_track`` or ``count_tracks``: a condition on the entries of the newest list at each instant."""
    is_truth = row[I_OP] == Op.ANY_TRACK
    group, span = tables.groups[row[I_WHAT]], row[I_SPAN]
    n, shift, lists = query[Q_LEN], query[Q_SHIFT], group[G_LISTS]
    counts_at = allocate(tables.tops, TOP_POSITIONS, 2 * lists)
    trues = pools.positions[counts_at : counts_at + lists]
    unknowns = pools.positions[counts_at + lists : counts_at + 2 * lists]
    count_in_lists(group, tables.truth_at[row[I_A]], pools, trues, unknowns)
    to = allocate(tables.tops, TOP_TRUTHS if is_truth else TOP_NUMBERS, n)
    register_at = tables.truth_at if is_truth else tables.number_at
    register_at[row[I_RESULT]] = to
    j = tables.source_timeline[program.scalars + row[I_WHAT]]
    if j < 0:
        if is_truth:
            pools.truths[to : to + n] = UNKNOWN
        else:
            pools.numbers[to : to + n] = np.nan
        return
    begin = tables.timelines[j, TL_AT]
    after_at = positions_in_timeline(j, query, 0, pools, tables)
    for k in range(n):
        p = pools.positions[after_at + k] - 1
        fresh = p >= 0 and pools.times[query[Q_AT] + k] - shift - pools.times[begin + p] <= span
        if not is_truth:
            pools.numbers[to + k] = np.float64(trues[p]) if fresh else np.nan
        elif not fresh:
            pools.truths[to + k] = UNKNOWN
        elif trues[p] > 0:
            pools.truths[to + k] = TRUE
        else:
            pools.truths[to + k] = UNKNOWN if unknowns[p] > 0 else FALSE

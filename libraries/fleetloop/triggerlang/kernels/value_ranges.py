"""First pass over a program: the queries' instants, and the ranges of all registers. No value is computed."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, Numbers, inlined, int64, kernel
from fleetloop.triggerlang.kernels.arguments import Pools, Program, Tables
from fleetloop.triggerlang.kernels.bounds import (
    arithmetic_range,
    common_truth,
    comparison_range,
    logic_range,
    range_of_numbers,
    set_range,
)
from fleetloop.triggerlang.kernels.lookups import timeline_covers, value_covers
from fleetloop.triggerlang.kernels.opcodes import (
    FALSE,
    TRUE,
    UNKNOWN,
    Op,
    is_arithmetic,
    is_comparison,
    is_logic,
    makes_a_query,
    rolls_conditions,
)
from fleetloop.triggerlang.kernels.tables import (
    ALWAYS_KNOWN,
    CAD_AT,
    CAD_ID,
    CAD_LEN,
    G_ENTRIES,
    G_ID,
    G_TIMES,
    I_A,
    I_B,
    I_FIELD,
    I_OP,
    I_QUERY,
    I_RESULT,
    I_SPAN,
    I_WHAT,
    NEVER_KNOWN,
    PERHAPS_KNOWN,
    Q_AT,
    Q_CADENCE,
    Q_GROUP,
    Q_ID,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    R_FILLED,
    R_KNOWN,
    R_LEAST,
    R_MOST,
    TL_AT,
    TL_LEN,
    VARIES,
    copy,
)
from fleetloop.triggerlang.kernels.unions import union_of_all, union_of_new

_MEAN_SLACK = 1e-6
"""A mean is a sum divided by a count, so rounding may take it out of its values' range by this share."""


@kernel
def set_instants(query: Ints, at: int, length: int, query_id: int) -> None:
    """Writes where a query's instants are."""
    query[Q_AT], query[Q_LEN], query[Q_ID] = at, length, query_id


@inlined
def make_query(row: Ints, first_start: int, program: Program, pools: Pools, tables: Tables) -> int:
    """Finds the instants of a query; returns how many there are."""
    query, op, what = tables.queries[row[I_RESULT]], row[I_OP], row[I_WHAT]
    if op == Op.SHIFTED:
        copy(tables.queries[what], query)
        query[Q_SHIFT] += row[I_SPAN]
        query[Q_TIMELINE] = query[Q_CADENCE] = -1
    else:
        query[Q_SHIFT], query[Q_GROUP], query[Q_TIMELINE], query[Q_CADENCE] = 0, -1, -1, -1
        set_instants(query, 0, 0, -1)
        if op == Op.TRACKS:
            group = tables.groups[what]
            set_instants(query, group[G_TIMES], group[G_ENTRIES], group[G_ID])
            query[Q_GROUP] = what
        else:
            sources = program.unions[program.union_first[what] : program.union_first[what + 1]]
            if op == Op.NEW:
                c = union_of_new(
                    sources, tables.source_timeline, tables.timelines, tables.cadences, tables.new_unions,
                    tables.members, pools.times, tables.tops,
                )  # fmt: skip
                query[Q_CADENCE] = c
                if c >= 0:
                    cadence = tables.cadences[c]
                    set_instants(query, cadence[CAD_AT], cadence[CAD_LEN], cadence[CAD_ID])
            else:
                j = union_of_all(
                    sources, tables.source_timeline, tables.timelines, tables.full_unions, tables.members,
                    pools.times, tables.tops, first_start,
                )  # fmt: skip
                query[Q_TIMELINE] = j
                if j >= 0:
                    # -2, -3, ...: apart from the ids of cadences and groups, which count from 0.
                    set_instants(query, tables.timelines[j, TL_AT], tables.timelines[j, TL_LEN], -2 - j)
    length: int = query[Q_LEN]
    return length


@inlined
def signal_range(row: Ints, query: Ints, pools: Pools, tables: Tables) -> None:
    """The range of a signal's held values, found from all its points once per vehicle."""
    result, source, span = row[I_RESULT], row[I_WHAT], row[I_SPAN]
    j, known = tables.source_timeline[source], tables.source_ranges[source]
    is_truth = row[I_OP] == Op.HOLD_TRUTH
    if j < 0:
        if is_truth:
            tables.truth_ranges[result] = UNKNOWN
        else:
            set_range(tables.number_ranges[result], -np.inf, np.inf, NEVER_KNOWN)
    else:
        if known[R_FILLED] == 0.0:
            known[R_FILLED] = 1.0
            at, n = tables.source_at[source], tables.timelines[j, TL_LEN]
            if is_truth:
                known[R_LEAST] = common_truth(pools.truths[at : at + n])
            else:
                range_of_numbers(pools.numbers[at : at + n], known)
        if is_truth:
            value = int64(known[R_LEAST])
            if value != VARIES and not value_covers(j, query, span, tables.timelines, pools.times):
                value = VARIES
            tables.truth_ranges[result] = value
        else:
            always = known[R_KNOWN]
            if always == ALWAYS_KNOWN and not value_covers(j, query, span, tables.timelines, pools.times):
                always = PERHAPS_KNOWN
            set_range(tables.number_ranges[result], known[R_LEAST], known[R_MOST], always)


@inlined
def field_range(row: Ints, query: Ints, pools: Pools, tables: Tables) -> None:
    """The range of a track field, found from all its entries once per vehicle."""
    result, column = row[I_RESULT], row[I_FIELD]
    known = tables.field_ranges[column]
    is_truth = row[I_OP] == Op.FIELD_TRUTH
    if known[R_FILLED] == 0.0:
        known[R_FILLED] = 1.0
        at, n = tables.field_at[column], tables.groups[row[I_WHAT], G_ENTRIES]
        if is_truth:
            known[R_LEAST] = common_truth(pools.truths[at : at + n])
        else:
            range_of_numbers(pools.numbers[at : at + n], known)
    # At an earlier instant the track may not have been there.
    own_time = query[Q_SHIFT] == 0
    if is_truth:
        tables.truth_ranges[result] = int64(known[R_LEAST]) if own_time else VARIES
    else:
        always = known[R_KNOWN] if own_time else PERHAPS_KNOWN
        set_range(tables.number_ranges[result], known[R_LEAST], known[R_MOST], always)


@kernel
def track_condition_range(
    row: Ints, j: int, entries: int, covers: bool, number_ranges: Numbers, truth_ranges: Ints
) -> None:
    """The range of ``any_track`` and ``count_tracks``: j is the group's timeline, -1 where there is no list.

    ``covers`` says whether every instant of the query has a list that is not too old.
    """
    never = truth_ranges[row[I_A]] == FALSE or entries == 0
    if row[I_OP] == Op.ANY_TRACK:
        truth_ranges[row[I_RESULT]] = UNKNOWN if j < 0 else FALSE if never and covers else VARIES
    else:
        known = NEVER_KNOWN if j < 0 else ALWAYS_KNOWN if covers else PERHAPS_KNOWN
        set_range(number_ranges[row[I_RESULT]], 0.0, 0.0 if never else np.float64(entries), known)


@kernel
def window_range(row: Ints, covers: bool, points: int, number_ranges: Numbers, truth_ranges: Ints) -> None:
    """The range of a window over values of known range.

    ``covers`` says whether every window has a point. ``points`` is how many points there are: no window has more.
    """
    op, result = row[I_OP], row[I_RESULT]
    if rolls_conditions(op):
        inner = truth_ranges[row[I_A]]
        if op == Op.COUNT:
            most = np.float64(points) if inner in (TRUE, VARIES) else 0.0
            set_range(number_ranges[result], 0.0, most, ALWAYS_KNOWN if covers else PERHAPS_KNOWN)
        else:
            truth_ranges[result] = inner if inner == UNKNOWN or covers else VARIES
        return
    values = number_ranges[row[I_A]]
    least, most, known = values[R_LEAST], values[R_MOST], values[R_KNOWN]
    if op == Op.SLOPE:
        # A window with too few points has no slope, whatever its values are.
        set_range(number_ranges[result], -np.inf, np.inf, min(known, PERHAPS_KNOWN))
        return
    slack = _MEAN_SLACK * max(abs(least), abs(most)) if op == Op.MEAN else 0.0
    always = known if known == NEVER_KNOWN or covers else PERHAPS_KNOWN
    set_range(number_ranges[result], least - slack, most + slack, always)


@kernel
def find_ranges(begin: int, end: int, first_start: int, program: Program, pools: Pools, tables: Tables) -> int:
    """Finds the queries' instants and the registers' ranges for instructions[begin:end].

    ``first_start`` is the start of the vehicle's first new batch. Returns 0, or the length of a query that is longer
    than a page of constants.
    """
    number_ranges, truth_ranges = tables.number_ranges, tables.truth_ranges
    for pc in range(begin, end):
        row = program.instructions[pc]
        op, result, a, b = row[I_OP], row[I_RESULT], row[I_A], row[I_B]
        if makes_a_query(op):
            length = make_query(row, first_start, program, pools, tables)
            if length > pools.page:
                return length
            continue
        query = tables.queries[row[I_QUERY]]
        if is_arithmetic(op):
            arithmetic_range(op, number_ranges, a, b if b >= 0 else a, result)
        elif op == Op.EXISTS_NUMBER:
            known = number_ranges[a, R_KNOWN]
            truth_ranges[result] = TRUE if known == ALWAYS_KNOWN else FALSE if known == NEVER_KNOWN else VARIES
        elif is_comparison(op):
            truth_ranges[result] = comparison_range(op, number_ranges, a, b)
        elif is_logic(op):
            truth_ranges[result] = logic_range(op, truth_ranges[a], truth_ranges[b if b >= 0 else a])
        elif op == Op.CONST_NUMBER:
            value = program.constants[row[I_WHAT]]
            set_range(number_ranges[result], value, value, ALWAYS_KNOWN)
        elif op == Op.CONST_TRUTH:
            truth_ranges[result] = int64(program.constants[row[I_WHAT]])
        elif op == Op.SUFFIX_NUMBER:
            copy(number_ranges[a], number_ranges[result])
        elif op == Op.SUFFIX_TRUTH:
            truth_ranges[result] = truth_ranges[a]
        elif op == Op.HOLD_NUMBER or op == Op.HOLD_TRUTH or op == Op.HOLD_KNOWN:
            signal_range(row, query, pools, tables)
        elif op == Op.FIELD_NUMBER or op == Op.FIELD_TRUTH:
            field_range(row, query, pools, tables)
        elif op == Op.ANY_TRACK or op == Op.COUNT_TRACKS:
            j = tables.source_timeline[program.scalars + row[I_WHAT]]
            covers = timeline_covers(j, query, row[I_SPAN], tables.timelines, pools.times)
            track_condition_range(row, j, tables.groups[row[I_WHAT], G_ENTRIES], covers, number_ranges, truth_ranges)
        else:
            domain = tables.queries[b]
            # A window over a track's entries may be empty.
            covers = row[I_WHAT] < 0 and timeline_covers(
                domain[Q_TIMELINE], query, row[I_SPAN], tables.timelines, pools.times
            )
            window_range(row, covers, domain[Q_LEN], number_ranges, truth_ranges)
    return 0

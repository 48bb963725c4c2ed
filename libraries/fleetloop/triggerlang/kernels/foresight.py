"""First pass over a program: the queries' instants, and bounds on every value; see ``bounds``."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.bounds import VARIES, arithmetic, compared, joined, of_codes, of_numbers
from fleetloop.triggerlang.kernels.lookups import timeline_covers, value_covers
from fleetloop.triggerlang.kernels.opcodes import (
    FALSE,
    TRUE,
    UNKNOWN,
    Op,
    is_arithmetic,
    is_logic,
    makes_a_query,
    rolls_conditions,
)
from fleetloop.triggerlang.kernels.tables import (
    CAD_AT,
    CAD_ID,
    CAD_LEN,
    G_ENTRIES,
    G_ID,
    G_TIMES,
    Q_AT,
    Q_CADENCE,
    Q_GROUP,
    Q_ID,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    TL_AT,
    TL_LEN,
)
from fleetloop.triggerlang.kernels.timelines import full_of_union, new_of_union


@kernel
def foresee(
    code, begin, end, constants, unions, union_first, union_new, union_full, source_tl, plain, source_at,
    source_bounds,
    tl, cad, groups, field_at, field_bounds, queries, float_bounds, code_bounds, T, F, C, page, top, parts,
    first_start,
):  # fmt: skip
    """Finds the queries' instants, and what the values at them cannot exceed; no value is computed.

    Returns 0, or the length of a query that is longer than a page of constants.
    """
    for pc in range(begin, end):
        op, result, a, b = code[pc, 0], code[pc, 1], code[pc, 2], code[pc, 3]
        what, span = code[pc, 5], code[pc, 6]
        if makes_a_query(op):
            q = queries[result]
            if op == Op.SHIFTED:
                queries[result] = queries[what]
                q[Q_SHIFT] += span
                q[Q_TIMELINE] = q[Q_CADENCE] = -1
                continue
            q[Q_SHIFT], q[Q_GROUP], q[Q_TIMELINE], q[Q_CADENCE] = 0, -1, -1, -1
            if op == Op.TRACKS:
                g = groups[what]
                q[Q_AT], q[Q_LEN], q[Q_ID], q[Q_GROUP] = g[G_TIMES], g[G_ENTRIES], g[G_ID], what
            else:
                members = unions[union_first[what] : union_first[what + 1]]
                if op == Op.NEW:
                    c = new_of_union(members, source_tl, tl, cad, top, T, union_new, parts)
                    q[Q_CADENCE] = c
                    if c < 0:
                        q[Q_AT], q[Q_LEN], q[Q_ID] = 0, 0, -1
                    else:
                        q[Q_AT], q[Q_LEN], q[Q_ID] = cad[c, CAD_AT], cad[c, CAD_LEN], cad[c, CAD_ID]
                else:
                    j = full_of_union(members, source_tl, tl, cad, top, T, union_full, parts, first_start)
                    q[Q_TIMELINE] = j
                    if j < 0:
                        q[Q_AT], q[Q_LEN], q[Q_ID] = 0, 0, -1
                    else:
                        # full timelines' ids are apart from those of new instants
                        q[Q_AT], q[Q_LEN], q[Q_ID] = tl[j, TL_AT], tl[j, TL_LEN], -2 - j
            if q[Q_LEN] > page:
                return q[Q_LEN]
            continue
        query = code[pc, 4]
        if is_arithmetic(op):
            arithmetic(op, float_bounds, a, b if b >= 0 else a, result)
        elif op == Op.LT or op == Op.LE or op == Op.EQ:
            code_bounds[result] = compared(op, float_bounds, a, b)
        elif op == Op.EXISTS_F:
            known = float_bounds[a, 2]
            code_bounds[result] = TRUE if known > 0.0 else FALSE if known < 0.0 else VARIES
        elif is_logic(op):
            code_bounds[result] = joined(op, code_bounds[a], code_bounds[b if b >= 0 else a])
        elif op == Op.CONST_F:
            float_bounds[result, 0] = float_bounds[result, 1] = constants[what]
            float_bounds[result, 2] = 1.0
        elif op == Op.CONST_C:
            code_bounds[result] = np.int64(constants[what])
        elif op == Op.SUFFIX_F:
            for i in range(3):
                float_bounds[result, i] = float_bounds[a, i]
        elif op == Op.SUFFIX_C:
            code_bounds[result] = code_bounds[a]
        elif op == Op.HOLD_F or op == Op.HOLD_KNOWN:
            j = source_tl[what]
            if j < 0:
                float_bounds[result, 0], float_bounds[result, 1], float_bounds[result, 2] = -np.inf, np.inf, -1.0
                continue
            if source_bounds[what, 3] == 0.0:
                source_bounds[what, 3] = 1.0
                of_numbers(F[source_at[what] : source_at[what] + tl[j, TL_LEN]], source_bounds[what])
            for i in range(3):
                float_bounds[result, i] = source_bounds[what, i]
            if float_bounds[result, 2] > 0.0 and not value_covers(j, queries, query, span, tl, T):
                float_bounds[result, 2] = 0.0
        elif op == Op.HOLD_C:
            j = source_tl[what]
            if j < 0:
                code_bounds[result] = UNKNOWN
                continue
            if source_bounds[what, 3] == 0.0:
                source_bounds[what, 3] = 1.0
                of_codes(C[source_at[what] : source_at[what] + tl[j, TL_LEN]], source_bounds[what])
            code_bounds[result] = np.int64(source_bounds[what, 0])
            if code_bounds[result] >= 0 and not value_covers(j, queries, query, span, tl, T):
                code_bounds[result] = VARIES
        elif op == Op.FIELD_F or op == Op.FIELD_C:
            column, n = code[pc, 7], groups[what, G_ENTRIES]
            if field_bounds[column, 3] == 0.0:
                field_bounds[column, 3] = 1.0
                if op == Op.FIELD_F:
                    of_numbers(F[field_at[column] : field_at[column] + n], field_bounds[column])
                else:
                    of_codes(C[field_at[column] : field_at[column] + n], field_bounds[column])
            own_time = queries[query, Q_SHIFT] == 0
            if op == Op.FIELD_F:
                float_bounds[result, 0], float_bounds[result, 1] = field_bounds[column, 0], field_bounds[column, 1]
                float_bounds[result, 2] = field_bounds[column, 2] if own_time else 0.0
            else:
                code_bounds[result] = np.int64(field_bounds[column, 0]) if own_time else VARIES
        elif op == Op.ANY_TRACK or op == Op.COUNT_TRACKS:
            j = source_tl[plain + what]
            never = code_bounds[a] == FALSE or groups[what, G_ENTRIES] == 0
            known = timeline_covers(j, queries, query, span, tl, T)
            if op == Op.ANY_TRACK:
                code_bounds[result] = UNKNOWN if j < 0 else FALSE if never and known else VARIES
            else:
                float_bounds[result, 0] = 0.0
                float_bounds[result, 1] = 0.0 if never else np.float64(groups[what, G_ENTRIES])
                float_bounds[result, 2] = -1.0 if j < 0 else 1.0 if known else 0.0
        else:
            known = what < 0 and timeline_covers(queries[b, Q_TIMELINE], queries, query, span, tl, T)
            if rolls_conditions(op):
                inner = code_bounds[a]
                if op == Op.COUNT:
                    float_bounds[result, 0] = 0.0
                    float_bounds[result, 1] = np.float64(queries[b, Q_LEN]) if inner in (TRUE, VARIES) else 0.0
                    float_bounds[result, 2] = 1.0 if known else 0.0
                else:
                    code_bounds[result] = inner if inner == UNKNOWN or known else VARIES
                continue
            least, most, inner_known = float_bounds[a, 0], float_bounds[a, 1], float_bounds[a, 2]
            # a mean is a sum, divided: it may leave the values' range by its rounding
            slack = 1e-6 * max(abs(least), abs(most)) if op == Op.MEAN else 0.0
            float_bounds[result, 0], float_bounds[result, 1] = least - slack, most + slack
            float_bounds[result, 2] = inner_known if inner_known < 0.0 or known else 0.0
            if op == Op.SLOPE:
                float_bounds[result, 0], float_bounds[result, 1] = -np.inf, np.inf
                float_bounds[result, 2] = min(inner_known, 0.0)
    return 0

"""Second pass over a program: the values themselves, of what the first pass left open."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.lookups import bounds, hold, own_place, track_bounds
from fleetloop.triggerlang.kernels.opcodes import (
    FALSE,
    TRUE,
    UNKNOWN,
    Op,
    is_arithmetic,
    is_comparison,
    is_logic,
    rolls_conditions,
    rolls_numbers,
)
from fleetloop.triggerlang.kernels.pointwise import comparison, condition, number
from fleetloop.triggerlang.kernels.rolling import extreme, first, known_before, mean, slope, tallied
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_ENTRIES,
    G_LISTS,
    G_OWNER,
    G_TIMES,
    G_TRACKS,
    Q_AT,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    TL_AT,
    TL_LEN,
    TOP_C,
    TOP_F,
    TOP_P,
)


@kernel
def want_code(register, needed, code_made, code_bounds, codes, page):
    """Marks what makes a condition's register, or points it to the page of its one code."""
    if code_bounds[register] >= 0:
        codes[register] = code_bounds[register] * page
    else:
        made = code_made[register]
        needed[made] = max(needed[made], 1)


@kernel
def want(code, pc, needed, float_made, code_made, code_bounds, codes, page):
    """Marks what an instruction reads, unless it was computed before or its bounds say all."""
    op, a, b = code[pc, 0], code[pc, 2], code[pc, 3]
    reads_floats = op == Op.SUFFIX_F or is_arithmetic(op) or is_comparison(op) or rolls_numbers(op)
    reads_codes = op == Op.SUFFIX_C or op == Op.ANY_TRACK or op == Op.COUNT_TRACKS
    reads_codes = reads_codes or is_logic(op) or rolls_conditions(op)
    if reads_floats:
        made = float_made[a]
        needed[made] = max(needed[made], 1)
        if (is_arithmetic(op) or is_comparison(op)) and b >= 0:
            made = float_made[b]
            needed[made] = max(needed[made], 1)
    elif reads_codes:
        want_code(a, needed, code_made, code_bounds, codes, page)
        if is_logic(op) and b >= 0:
            want_code(b, needed, code_made, code_bounds, codes, page)


@kernel
def roll_numbers(op, values, times, ends, shift, span, low, high, out, S, P, p):
    """One of the windows over numbers. S and P from p on are scratch."""
    n = len(values)
    if op == Op.MIN or op == Op.MAX:
        sign = 1.0 if op == Op.MIN else -1.0
        extreme(sign, values, times, ends, shift, span, low, high, out, S[0, :n], S[1, :n])
    elif op == Op.MEAN:
        mean(values, times, ends, shift, span, low, high, out, S[0:2, :n], S[5:7, :n])
    elif op == Op.FIRST:
        first(values, low, high, out)
    else:
        following, preceding = P[p : p + n + 1], P[p + n + 1 : p + 2 * n + 2]
        slope(values, times, ends, shift, span, low, high, out, S[0:5, :n], S[5:10, :n], following, preceding)


@kernel
def execute(
    code, begin, end, needed, source_tl, plain, source_at, known_at, tl, groups, field_at, queries, floats, codes,
    T, F,
    C, P, S, page, memo, top,
):  # fmt: skip
    """Runs those instructions of one vehicle that are marked 1 in ``needed``, and marks them 2."""
    for pc in range(begin, end):
        if needed[pc] != 1:
            continue
        needed[pc] = 2
        op, result, a, b = code[pc, 0], code[pc, 1], code[pc, 2], code[pc, 3]
        what, span = code[pc, 5], code[pc, 6]
        q = queries[code[pc, 4]]
        n, shift = q[Q_LEN], q[Q_SHIFT]
        if is_arithmetic(op):
            floats[result] = top[TOP_F]
            top[TOP_F] += n
            other = floats[b] if b >= 0 else floats[a]
            at = floats[result]
            number(op, F[floats[a] : floats[a] + n], F[other : other + n], F[at : at + n])
        elif is_comparison(op):
            codes[result] = top[TOP_C]
            top[TOP_C] += n
            at = codes[result]
            other = floats[b] if b >= 0 else floats[a]
            comparison(op, F[floats[a] : floats[a] + n], F[other : other + n], C[at : at + n])
        elif is_logic(op):
            codes[result] = top[TOP_C]
            top[TOP_C] += n
            at = codes[result]
            other = codes[b] if b >= 0 else codes[a]
            condition(op, C[codes[a] : codes[a] + n], C[other : other + n], C[at : at + n])
        elif op == Op.CONST_F:
            floats[result] = what * page
        elif op == Op.CONST_C:
            codes[result] = what * page
        elif op == Op.SUFFIX_F or op == Op.SUFFIX_C:
            # the last n of a full timeline's values
            full = queries[b, Q_LEN]
            if op == Op.SUFFIX_F:
                floats[result] = floats[a] + full - n
            else:
                codes[result] = codes[a] + full - n
        elif op == Op.HOLD_F or op == Op.HOLD_C or op == Op.HOLD_KNOWN:
            j = source_tl[what]
            if j < 0:
                if op == Op.HOLD_C:
                    codes[result] = top[TOP_C]
                    C[top[TOP_C] : top[TOP_C] + n] = UNKNOWN
                    top[TOP_C] += n
                else:
                    floats[result] = top[TOP_F]
                    F[top[TOP_F] : top[TOP_F] + n] = np.nan
                    top[TOP_F] += n
                continue
            at = source_at[what]
            if op != Op.HOLD_KNOWN and shift == 0:
                own = own_place(tl, j, q)
                if own >= 0:
                    if op == Op.HOLD_C:
                        codes[result] = at + own
                    else:
                        floats[result] = at + own
                    continue
            begin_t, length = tl[j, TL_AT], tl[j, TL_LEN]
            place = bounds(j, begin_t, length, own_place(tl, j, q), q, 0, groups, T, P, memo, top)
            after = P[place : place + n]
            times = T[begin_t : begin_t + length]
            wanted = T[q[Q_AT] : q[Q_AT] + n]
            if op == Op.HOLD_C:
                to = top[TOP_C]
                top[TOP_C] += n
                codes[result] = to
                hold(C[at : at + length], times, after, wanted, shift, span, np.int8(UNKNOWN), C[to : to + n])
                continue
            to = top[TOP_F]
            top[TOP_F] += n
            floats[result] = to
            values, out = F[at : at + length], F[to : to + n]
            if op == Op.HOLD_F:
                hold(values, times, after, wanted, shift, span, np.nan, out)
                continue
            if known_at[what] < 0:
                known_at[what] = top[TOP_P]
                top[TOP_P] += length
                known_before(values, P[known_at[what] : known_at[what] + length])
            before = P[known_at[what] : known_at[what] + length]
            for k in range(n):
                p = after[k] - 1
                if p >= 0:
                    p = before[p]
                out[k] = values[p] if p >= 0 and wanted[k] - shift - times[p] <= span else np.nan
        elif op == Op.FIELD_F or op == Op.FIELD_C:
            g = groups[what]
            at = field_at[code[pc, 7]]
            if shift == 0:
                if op == Op.FIELD_C:
                    codes[result] = at
                else:
                    floats[result] = at
                continue
            place = top[TOP_P]
            after = P[place : place + n]
            track_bounds(g, q, 0, T, P, after)
            times = T[g[G_TIMES] : g[G_TIMES] + n]
            to = top[TOP_C] if op == Op.FIELD_C else top[TOP_F]
            if op == Op.FIELD_C:
                codes[result] = to
                top[TOP_C] += n
            else:
                floats[result] = to
                top[TOP_F] += n
            for t in range(g[G_TRACKS]):
                low, high = P[g[G_BEGINS] + t], P[g[G_BEGINS] + t + 1]
                for k in range(low, high):
                    p = after[k] - 1
                    fresh = p >= low and times[k] - shift - times[p] <= span
                    if op == Op.FIELD_C:
                        C[to + k] = C[at + p] if fresh else UNKNOWN
                    else:
                        F[to + k] = F[at + p] if fresh else np.nan
        elif op == Op.ANY_TRACK or op == Op.COUNT_TRACKS:
            g = groups[what]
            lists = g[G_LISTS]
            j = source_tl[plain + what]
            owner = P[g[G_OWNER] : g[G_OWNER] + g[G_ENTRIES]]
            scratch = top[TOP_P]
            trues, unknowns = P[scratch : scratch + lists], P[scratch + lists : scratch + 2 * lists]
            trues[:] = 0
            unknowns[:] = 0
            for e in range(g[G_ENTRIES]):
                c = C[codes[a] + e]
                if c == TRUE:
                    trues[owner[e]] += 1
                elif c == UNKNOWN:
                    unknowns[owner[e]] += 1
            top[TOP_P] += 2 * lists
            to = top[TOP_C] if op == Op.ANY_TRACK else top[TOP_F]
            if op == Op.ANY_TRACK:
                codes[result] = to
                top[TOP_C] += n
            else:
                floats[result] = to
                top[TOP_F] += n
            if j < 0:
                for k in range(n):
                    if op == Op.ANY_TRACK:
                        C[to + k] = UNKNOWN
                    else:
                        F[to + k] = np.nan
                continue
            begin_t, length = tl[j, TL_AT], tl[j, TL_LEN]
            place = bounds(j, begin_t, length, own_place(tl, j, q), q, 0, groups, T, P, memo, top)
            for k in range(n):
                p = P[place + k] - 1
                fresh = p >= 0 and T[q[Q_AT] + k] - shift - T[begin_t + p] <= span
                if op == Op.ANY_TRACK:
                    known = TRUE if trues[p] > 0 else UNKNOWN if unknowns[p] > 0 else FALSE
                    C[to + k] = known if fresh else UNKNOWN
                else:
                    F[to + k] = np.float64(trues[p]) if fresh else np.nan
        else:
            domain = queries[b]
            is_code = op == Op.ANY or op == Op.ALL
            to = top[TOP_C] if is_code else top[TOP_F]
            if is_code:
                codes[result] = to
                top[TOP_C] += n
            else:
                floats[result] = to
                top[TOP_F] += n
            length = domain[Q_LEN]
            if length == 0:
                for k in range(n):
                    if is_code:
                        C[to + k] = UNKNOWN
                    else:
                        F[to + k] = np.nan
                continue
            times = T[domain[Q_AT] : domain[Q_AT] + length]
            wanted = T[q[Q_AT] : q[Q_AT] + n]
            if what < 0:
                j = domain[Q_TIMELINE]
                low_at = bounds(j, tl[j, TL_AT], length, np.int64(-1), q, span, groups, T, P, memo, top)
                high_at = bounds(j, tl[j, TL_AT], length, own_place(tl, j, q), q, 0, groups, T, P, memo, top)
                pieces = 1
            else:
                low_at, high_at = top[TOP_P], top[TOP_P] + n
                top[TOP_P] += 2 * n
                track_bounds(groups[what], q, span, T, P, P[low_at : low_at + n])
                track_bounds(groups[what], q, 0, T, P, P[high_at : high_at + n])
                pieces = groups[what, G_TRACKS]
            low, high = P[low_at : low_at + n], P[high_at : high_at + n]
            p = top[TOP_P]
            for piece in range(pieces):
                # one vehicle's timeline, or one track's
                first_value, last_value, first_out, last_out = 0, length, 0, n
                lows, highs = low, high
                if what >= 0:
                    g = groups[what]
                    first_value, last_value = P[g[G_BEGINS] + piece], P[g[G_BEGINS] + piece + 1]
                    first_out, last_out = first_value, last_value
                    size = last_out - first_out
                    lows, highs = P[p : p + size], P[p + size : p + 2 * size]
                    for k in range(size):
                        lows[k] = low[first_out + k] - first_value
                        highs[k] = high[first_out + k] - first_value
                scratch = p + 2 * length
                span_times = times[first_value:last_value]
                if is_code or op == Op.COUNT:
                    inner = C[codes[a] + first_value : codes[a] + last_value]
                    tallied(
                        op, inner, lows, highs, C[to + first_out : to + last_out], F[to + first_out : to + last_out]
                    )
                else:
                    inner_f = F[floats[a] + first_value : floats[a] + last_value]
                    out = F[to + first_out : to + last_out]
                    ends = wanted[first_out:last_out]
                    roll_numbers(op, inner_f, span_times, ends, shift, span, lows, highs, out, S, P, scratch)

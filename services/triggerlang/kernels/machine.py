"""Runs a lowered program over vehicles, one after the other: their points stay in the processor's cache while
all triggers look at them.

Nothing is allocated here. Registers are stretches of four pools (``T`` instants and ids, ``F`` numbers, ``C``
codes, ``P`` positions), which grow from the same place for every vehicle; what does not fit is reported as a
need, and the caller comes again with larger pools.
"""

from __future__ import annotations

import numpy as np

from triggerlang.kernels import kernel
from triggerlang.kernels.bounds import (
    VARIES,
    arithmetic,
    compared,
    covered,
    joined,
    longest_gap,
    of_codes,
    of_numbers,
)
from triggerlang.kernels.ingest import (
    upper_bound,
)
from triggerlang.kernels.pointwise import comparison, condition, number
from triggerlang.kernels.rolling import (
    first,
    greater,
    known_before,
    lesser,
    mean,
    positions,
    slope,
    tallied,
)

# places in the tables of one vehicle
TL_AT, TL_LEN, TL_NEW, TL_KEEP, TL_RAW, TL_COLUMN, TL_TAIL, TL_ROWS, TL_CADENCE, TL_GAP = range(10)
CAD_AT, CAD_LEN, CAD_ID, CAD_COLUMN = range(4)
Q_AT, Q_LEN, Q_SHIFT, Q_ID, Q_GROUP, Q_TIMELINE, Q_CADENCE = range(7)
G_LISTS, G_FIRST, G_IDS, G_ENTRIES, G_TIMES, G_BEGINS, G_TRACKS, G_OWNER, G_ORDER, G_ID = range(10)
# tops of the pools
TOP_T, TOP_F, TOP_C, TOP_P, NEXT_ID, TIMELINES, CADENCES = range(7)
MEMO = 4096


@kernel
def same_pieces(pieces, batches, low, high, a, b):
    """Whether two columns have the same instants in a vehicle's new batches."""
    for k in range(low, high):
        i = batches[k]
        if (pieces[i, a, 0] < 0) != (pieces[i, b, 0] < 0):
            return False
        if pieces[i, a, 0] >= 0 and pieces[i, a, 2] != pieces[i, b, 2]:
            return False
    return True


@kernel
def timeline_of(
    data,
    pieces,
    batches,
    low,
    high,
    start_ns,
    frame_at,
    column,
    memory,
    tail_at,
    tail_rows,
    tail_id,
    tl,
    cad,
    top,
    T,
    P,
):
    """The timeline of a column: one that another column has, or a new one; -1 where there is no point.

    ``memory`` are the remembered instants that this column's last ``tail_rows`` are at ``tail_at``.
    """
    raw = tail_rows
    fresh = 0
    for k in range(low, high):
        if pieces[batches[k], column, 0] >= 0:
            fresh += pieces[batches[k], column, 1]
    raw += fresh
    if raw == 0:
        return -1
    cadence = -1
    for j in range(top[TIMELINES]):
        if same_pieces(pieces, batches, low, high, column, tl[j, TL_COLUMN]):
            if tl[j, TL_TAIL] == tail_id and tl[j, TL_ROWS] == tail_rows:
                return j
            cadence = tl[j, TL_CADENCE]
    at = top[TOP_T]
    n = at
    for i in range(tail_rows):
        T[n] = memory[tail_at + i]
        n += 1
    for k in range(low, high):
        i = batches[k]
        if pieces[i, column, 0] < 0:
            continue
        rows, offsets_at, start = pieces[i, column, 1], pieces[i, column, 2], start_ns[i]
        if offsets_at < 0:
            offsets_at = frame_at[i]
        offsets = data[offsets_at : offsets_at + 8 * rows].view(np.int64)
        for r in range(rows):
            T[n + r] = start + offsets[r]
        n += rows
    repeats = False
    for i in range(at + 1, n):
        if T[i] == T[i - 1]:
            repeats = True
            break
    keep, first_new = -1, tail_rows
    if repeats:
        # of several points at one instant the last counts
        keep = top[TOP_P]
        kept = 0
        first_new = -1
        for i in range(raw):
            if i + 1 < raw and T[at + i + 1] == T[at + i]:
                continue
            if first_new < 0 and i >= tail_rows:
                first_new = kept
            P[keep + kept] = i
            T[at + kept] = T[at + i]
            kept += 1
        if first_new < 0:
            first_new = kept
        n = at + kept
        top[TOP_P] += kept
    top[TOP_T] = n
    j = top[TIMELINES]
    top[TIMELINES] += 1
    if cadence < 0:
        cadence = top[CADENCES]
        top[CADENCES] += 1
        cad[cadence, CAD_AT], cad[cadence, CAD_LEN] = at + first_new, n - at - first_new
        cad[cadence, CAD_ID], cad[cadence, CAD_COLUMN] = top[NEXT_ID], column
        top[NEXT_ID] += 1
    tl[j, TL_AT], tl[j, TL_LEN], tl[j, TL_NEW], tl[j, TL_KEEP], tl[j, TL_RAW] = at, n - at, first_new, keep, raw
    tl[j, TL_COLUMN], tl[j, TL_TAIL], tl[j, TL_ROWS], tl[j, TL_CADENCE] = column, tail_id, tail_rows, cadence
    tl[j, TL_GAP] = -1
    return j


@kernel
def merged(T, parts, count, table, at_place, len_place, top):
    """Joins rising lists of instants into one without repeats, at the top of T; returns its length.

    ``table[parts[i]]`` says where list i is. Two at a time: what is joined so far is moved up and joined again.
    """
    out = top[TOP_T]
    n = np.int64(0)
    for part in range(count):
        row = table[parts[part]]
        at, size = row[at_place], row[len_place]
        if part == 0:
            for i in range(size):
                T[out + i] = T[at + i]
            n = size
            continue
        # from the back, so that nothing is overwritten before it is read
        total = n + size
        i, k, to = n - 1, size - 1, out + total - 1
        while k >= 0:
            b = T[at + k]
            if i >= 0 and T[out + i] > b:
                T[to] = T[out + i]
                i -= 1
            else:
                if i >= 0 and T[out + i] == b:
                    i -= 1
                T[to] = b
                k -= 1
            to -= 1
        gap = to - (out + i)
        if gap > 0:
            for p in range(to + 1, out + total):
                T[p - gap] = T[p]
        n = total - gap
    return n


@kernel
def put_in_order(parts, count):
    """Sorts the first few numbers where they are."""
    for i in range(1, count):
        v, k = parts[i], i
        while k > 0 and parts[k - 1] > v:
            parts[k] = parts[k - 1]
            k -= 1
        parts[k] = v


@kernel
def made_before(made, parts, count):
    """The result of a union of the same parts; -1 where there was none."""
    for u in range(1, made[0, 0] + 1):
        if made[u, 0] != count:
            continue
        same = True
        for i in range(count):
            same = same and made[u, 2 + i] == parts[i]
        if same:
            return made[u, 1]
    return np.int64(-1)


@kernel
def new_of_union(sources, source_tl, tl, cad, top, T, unions_new, parts):
    """The cadence that holds the new instants of several sources; -1 where there are none."""
    count = 0
    for s in sources:
        if source_tl[s] < 0:
            continue
        c = tl[source_tl[s], TL_CADENCE]
        known = cad[c, CAD_LEN] == 0
        for i in range(count):
            if parts[i] == c:
                known = True
        if not known:
            parts[count] = c
            count += 1
    if count == 0:
        return -1
    if count == 1:
        return parts[0]
    put_in_order(parts, count)
    before = made_before(unions_new, parts, count)
    if before >= 0:
        return before
    n = merged(T, parts, count, cad, CAD_AT, CAD_LEN, top)
    result = -1
    for i in range(count):
        if cad[parts[i], CAD_LEN] == n:
            result = parts[i]
    if result < 0:
        result = top[CADENCES]
        top[CADENCES] += 1
        cad[result, CAD_AT], cad[result, CAD_LEN], cad[result, CAD_ID] = top[TOP_T], n, top[NEXT_ID]
        cad[result, CAD_COLUMN] = -1
        top[NEXT_ID] += 1
        top[TOP_T] += n
    remember(unions_new, parts, count, result)
    return result


@kernel
def remember(made, parts, count, result):
    """Notes a union so that the next one of the same parts is the same."""
    if made[0, 0] + 1 < made.shape[0] and count + 2 <= made.shape[1]:
        made[0, 0] += 1
        row = made[made[0, 0]]
        row[0], row[1] = count, result
        row[2 : 2 + count] = parts[:count]


@kernel
def full_of_union(sources, source_tl, tl, cad, top, T, unions_full, parts, first_start):
    """The timeline that holds all instants of several sources; -1 where there are none."""
    count = 0
    for s in sources:
        j = source_tl[s]
        if j < 0:
            continue
        known = False
        for i in range(count):
            if parts[i] == j:
                known = True
        if not known:
            parts[count] = j
            count += 1
    if count == 0:
        return -1
    if count == 1:
        return parts[0]
    put_in_order(parts, count)
    before = made_before(unions_full, parts, count)
    if before >= 0:
        return before
    n = merged(T, parts, count, tl, TL_AT, TL_LEN, top)
    result = -1
    for i in range(count):
        if tl[parts[i], TL_LEN] == n:
            result = parts[i]
    if result < 0:
        result = top[TIMELINES]
        top[TIMELINES] += 1
        at = top[TOP_T]
        tl[result, TL_AT], tl[result, TL_LEN], tl[result, TL_KEEP], tl[result, TL_RAW] = at, n, -1, n
        tl[result, TL_NEW] = upper_bound(T, at, at + n, first_start - 1) - at
        tl[result, TL_COLUMN], tl[result, TL_TAIL], tl[result, TL_ROWS], tl[result, TL_CADENCE] = -1, -2, -2, -1
        tl[result, TL_GAP] = -1
        top[TOP_T] += n
    remember(unions_full, parts, count, result)
    return result


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

    ``begin`` and ``length`` say where the timeline is in T, ``own_first`` see ``own_place``. Positions count from ``begin``. What was looked up
    before is remembered in ``memo``.
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
def roll_numbers(op, values, times, ends, shift, span, low, high, out, S, P, p):
    """One of the windows over numbers. S and P from p on are scratch."""
    n = len(values)
    if op == 70:
        lesser(values, times, ends, shift, span, low, high, out, S[0, :n], S[1, :n])
    elif op == 71:
        greater(values, times, ends, shift, span, low, high, out, S[0, :n], S[1, :n])
    elif op == 72:
        mean(values, times, ends, shift, span, low, high, out, S[0:2, :n], S[5:7, :n])
    elif op == 73:
        first(values, low, high, out)
    else:
        following, preceding = P[p : p + n + 1], P[p + n + 1 : p + 2 * n + 2]
        slope(values, times, ends, shift, span, low, high, out, S[0:5, :n], S[5:10, :n], following, preceding)


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


@kernel
def foresee(
    code, begin, end, constants, unions, union_first, union_new, union_full, source_tl, plain, source_at, source_bounds,
    tl, cad, groups, field_at, field_bounds, queries, float_bounds, code_bounds, T, F, C, page, top, parts, first_start,
):  # fmt: skip
    """Finds the queries' instants, and what the values at them cannot exceed; no value is computed.

    Returns 0, or the length of a query that is longer than a page of constants.
    """
    for pc in range(begin, end):
        op, result, a, b = code[pc, 0], code[pc, 1], code[pc, 2], code[pc, 3]
        what, span = code[pc, 5], code[pc, 6]
        if op < 10:
            q = queries[result]
            if op == 2:
                queries[result] = queries[what]
                q[Q_SHIFT] += span
                q[Q_TIMELINE] = q[Q_CADENCE] = -1
                continue
            q[Q_SHIFT], q[Q_GROUP], q[Q_TIMELINE], q[Q_CADENCE] = 0, -1, -1, -1
            if op == 3:
                g = groups[what]
                q[Q_AT], q[Q_LEN], q[Q_ID], q[Q_GROUP] = g[G_TIMES], g[G_ENTRIES], g[G_ID], what
            else:
                members = unions[union_first[what] : union_first[what + 1]]
                if op == 0:
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
        if op >= 30 and op < 50:
            arithmetic(op, float_bounds, a, b if b >= 0 else a, result)
        elif op >= 50 and op < 53:
            code_bounds[result] = compared(op, float_bounds, a, b)
        elif op == 53:
            known = float_bounds[a, 2]
            code_bounds[result] = 2 if known > 0.0 else 0 if known < 0.0 else VARIES
        elif op >= 54 and op < 70:
            code_bounds[result] = joined(op, code_bounds[a], code_bounds[b if b >= 0 else a])
        elif op == 10:
            float_bounds[result, 0] = float_bounds[result, 1] = constants[what]
            float_bounds[result, 2] = 1.0
        elif op == 11:
            code_bounds[result] = np.int64(constants[what])
        elif op == 12:
            for i in range(3):
                float_bounds[result, i] = float_bounds[a, i]
        elif op == 13:
            code_bounds[result] = code_bounds[a]
        elif op == 14 or op == 16:
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
        elif op == 15:
            j = source_tl[what]
            if j < 0:
                code_bounds[result] = 1
                continue
            if source_bounds[what, 3] == 0.0:
                source_bounds[what, 3] = 1.0
                of_codes(C[source_at[what] : source_at[what] + tl[j, TL_LEN]], source_bounds[what])
            code_bounds[result] = np.int64(source_bounds[what, 0])
            if code_bounds[result] >= 0 and not value_covers(j, queries, query, span, tl, T):
                code_bounds[result] = VARIES
        elif op == 17 or op == 18:
            column, n = code[pc, 7], groups[what, G_ENTRIES]
            if field_bounds[column, 3] == 0.0:
                field_bounds[column, 3] = 1.0
                if op == 17:
                    of_numbers(F[field_at[column] : field_at[column] + n], field_bounds[column])
                else:
                    of_codes(C[field_at[column] : field_at[column] + n], field_bounds[column])
            own_time = queries[query, Q_SHIFT] == 0
            if op == 17:
                float_bounds[result, 0], float_bounds[result, 1] = field_bounds[column, 0], field_bounds[column, 1]
                float_bounds[result, 2] = field_bounds[column, 2] if own_time else 0.0
            else:
                code_bounds[result] = np.int64(field_bounds[column, 0]) if own_time else VARIES
        elif op == 19 or op == 20:
            j = source_tl[plain + what]
            never = code_bounds[a] == 0 or groups[what, G_ENTRIES] == 0
            known = timeline_covers(j, queries, query, span, tl, T)
            if op == 19:
                code_bounds[result] = 1 if j < 0 else 0 if never and known else VARIES
            else:
                float_bounds[result, 0] = 0.0
                float_bounds[result, 1] = 0.0 if never else np.float64(groups[what, G_ENTRIES])
                float_bounds[result, 2] = -1.0 if j < 0 else 1.0 if known else 0.0
        else:
            known = what < 0 and timeline_covers(queries[b, Q_TIMELINE], queries, query, span, tl, T)
            if op >= 80:
                inner = code_bounds[a]
                if op == 82:
                    float_bounds[result, 0] = 0.0
                    float_bounds[result, 1] = 0.0 if inner == 0 or inner == 1 else np.float64(queries[b, Q_LEN])
                    float_bounds[result, 2] = 1.0 if known else 0.0
                else:
                    code_bounds[result] = inner if inner == 1 or known else VARIES
                continue
            least, most, inner_known = float_bounds[a, 0], float_bounds[a, 1], float_bounds[a, 2]
            # a mean is a sum, divided: it may leave the values' range by its rounding
            slack = 1e-6 * max(abs(least), abs(most)) if op == 72 else 0.0
            float_bounds[result, 0], float_bounds[result, 1] = least - slack, most + slack
            float_bounds[result, 2] = inner_known if inner_known < 0.0 or known else 0.0
            if op == 74:
                float_bounds[result, 0], float_bounds[result, 1] = -np.inf, np.inf
                float_bounds[result, 2] = min(inner_known, 0.0)
    return 0


@kernel
def want(code, pc, needed, float_made, code_made, code_bounds, codes, page):
    """Marks what an instruction reads, unless it was computed before or its bounds say all."""
    op, a, b = code[pc, 0], code[pc, 2], code[pc, 3]
    reads_floats = op == 12 or (op >= 30 and op <= 53) or (op >= 70 and op < 80)
    reads_codes = op == 13 or (op >= 54 and op < 70) or op >= 80 or op == 19 or op == 20
    if reads_floats:
        made = float_made[a]
        needed[made] = max(needed[made], 1)
        if op >= 30 and op <= 53 and b >= 0:
            made = float_made[b]
            needed[made] = max(needed[made], 1)
    elif reads_codes:
        want_code(a, needed, code_made, code_bounds, codes, page)
        if op >= 54 and op < 70 and b >= 0:
            want_code(b, needed, code_made, code_bounds, codes, page)


@kernel
def want_code(register, needed, code_made, code_bounds, codes, page):
    """Marks what makes a condition's register, or points it to the page of its one code."""
    if code_bounds[register] >= 0:
        codes[register] = code_bounds[register] * page
    else:
        made = code_made[register]
        needed[made] = max(needed[made], 1)


@kernel
def execute(
    code, begin, end, needed, source_tl, plain, source_at, known_at, tl, groups, field_at, queries, floats, codes, T, F,
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
        if op >= 30 and op < 50:
            floats[result] = top[TOP_F]
            top[TOP_F] += n
            other = floats[b] if b >= 0 else floats[a]
            at = floats[result]
            number(op, F[floats[a] : floats[a] + n], F[other : other + n], F[at : at + n])
        elif op >= 50 and op < 54:
            codes[result] = top[TOP_C]
            top[TOP_C] += n
            at = codes[result]
            other = floats[b] if b >= 0 else floats[a]
            comparison(op, F[floats[a] : floats[a] + n], F[other : other + n], C[at : at + n])
        elif op >= 54 and op < 70:
            codes[result] = top[TOP_C]
            top[TOP_C] += n
            at = codes[result]
            other = codes[b] if b >= 0 else codes[a]
            condition(op, C[codes[a] : codes[a] + n], C[other : other + n], C[at : at + n])
        elif op == 10:
            floats[result] = what * page
        elif op == 11:
            codes[result] = what * page
        elif op == 12 or op == 13:
            # the last n of a full timeline's values
            full = queries[b, Q_LEN]
            if op == 12:
                floats[result] = floats[a] + full - n
            else:
                codes[result] = codes[a] + full - n
        elif op == 14 or op == 15 or op == 16:
            j = source_tl[what]
            if j < 0:
                if op == 15:
                    codes[result] = top[TOP_C]
                    C[top[TOP_C] : top[TOP_C] + n] = 1
                    top[TOP_C] += n
                else:
                    floats[result] = top[TOP_F]
                    F[top[TOP_F] : top[TOP_F] + n] = np.nan
                    top[TOP_F] += n
                continue
            at = source_at[what]
            if op != 16 and shift == 0:
                own = own_place(tl, j, q)
                if own >= 0:
                    if op == 15:
                        codes[result] = at + own
                    else:
                        floats[result] = at + own
                    continue
            begin_t, length = tl[j, TL_AT], tl[j, TL_LEN]
            place = bounds(j, begin_t, length, own_place(tl, j, q), q, 0, groups, T, P, memo, top)
            after = P[place : place + n]
            times = T[begin_t : begin_t + length]
            wanted = T[q[Q_AT] : q[Q_AT] + n]
            if op == 15:
                to = top[TOP_C]
                top[TOP_C] += n
                codes[result] = to
                hold(C[at : at + length], times, after, wanted, shift, span, np.int8(1), C[to : to + n])
                continue
            to = top[TOP_F]
            top[TOP_F] += n
            floats[result] = to
            values, out = F[at : at + length], F[to : to + n]
            if op == 14:
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
        elif op == 17 or op == 18:
            g = groups[what]
            at = field_at[code[pc, 7]]
            if shift == 0:
                if op == 18:
                    codes[result] = at
                else:
                    floats[result] = at
                continue
            place = top[TOP_P]
            after = P[place : place + n]
            track_bounds(g, q, 0, T, P, after)
            times = T[g[G_TIMES] : g[G_TIMES] + n]
            to = top[TOP_C] if op == 18 else top[TOP_F]
            if op == 18:
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
                    if op == 18:
                        C[to + k] = C[at + p] if fresh else 1
                    else:
                        F[to + k] = F[at + p] if fresh else np.nan
        elif op == 19 or op == 20:
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
                if c == 2:
                    trues[owner[e]] += 1
                elif c == 1:
                    unknowns[owner[e]] += 1
            top[TOP_P] += 2 * lists
            to = top[TOP_C] if op == 19 else top[TOP_F]
            if op == 19:
                codes[result] = to
                top[TOP_C] += n
            else:
                floats[result] = to
                top[TOP_F] += n
            if j < 0:
                for k in range(n):
                    if op == 19:
                        C[to + k] = 1
                    else:
                        F[to + k] = np.nan
                continue
            begin_t, length = tl[j, TL_AT], tl[j, TL_LEN]
            place = bounds(j, begin_t, length, own_place(tl, j, q), q, 0, groups, T, P, memo, top)
            for k in range(n):
                p = P[place + k] - 1
                fresh = p >= 0 and T[q[Q_AT] + k] - shift - T[begin_t + p] <= span
                if op == 19:
                    C[to + k] = 1 if not fresh else 2 if trues[p] > 0 else 1 if unknowns[p] > 0 else 0
                else:
                    F[to + k] = np.float64(trues[p]) if fresh else np.nan
        else:
            domain = queries[b]
            is_code = op == 80 or op == 81
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
                        C[to + k] = 1
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
                if is_code or op == 82:
                    inner = C[codes[a] + first_value : codes[a] + last_value]
                    tallied(
                        op, inner, lows, highs, C[to + first_out : to + last_out], F[to + first_out : to + last_out]
                    )
                else:
                    inner_f = F[floats[a] + first_value : floats[a] + last_value]
                    out = F[to + first_out : to + last_out]
                    ends = wanted[first_out:last_out]
                    roll_numbers(op, inner_f, span_times, ends, shift, span, lows, highs, out, S, P, scratch)

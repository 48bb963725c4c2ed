"""One vehicle's lists of instants: which columns share one, and what several make together.

A *cadence* is what is new of a list, a *timeline* also what is remembered. Columns that were sent with the same
instants have one cadence, and one timeline where equally much of them is remembered.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.ingest import upper_bound
from fleetloop.triggerlang.kernels.tables import (
    CAD_AT,
    CAD_COLUMN,
    CAD_ID,
    CAD_LEN,
    CADENCES,
    NEXT_ID,
    TIMELINES,
    TL_AT,
    TL_CADENCE,
    TL_COLUMN,
    TL_GAP,
    TL_KEEP,
    TL_LEN,
    TL_NEW,
    TL_RAW,
    TL_ROWS,
    TL_TAIL,
    TOP_P,
    TOP_T,
)


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
def remember(made, parts, count, result):
    """Notes a union so that the next one of the same parts is the same."""
    if made[0, 0] + 1 < made.shape[0] and count + 2 <= made.shape[1]:
        made[0, 0] += 1
        row = made[made[0, 0]]
        row[0], row[1] = count, result
        row[2 : 2 + count] = parts[:count]


@kernel
def with_part(parts, count, part):
    """Adds a list to those of a union, once; returns how many there are."""
    for i in range(count):
        if parts[i] == part:
            return count
    parts[count] = part
    return count + 1


@kernel
def union_of(parts, count, table, at_place, len_place, made, T, top):
    """Which list holds all of several, made before or one of them, and 0; or -1 and the length of a new one at the
    top of T. ``table[parts[i]]`` says where list i is.
    """
    if count == 1:
        return parts[0], np.int64(0)
    put_in_order(parts, count)
    before = made_before(made, parts, count)
    if before >= 0:
        return before, np.int64(0)
    n = merged(T, parts, count, table, at_place, len_place, top)
    result = np.int64(-1)
    for i in range(count):
        if table[parts[i], len_place] == n:
            result = parts[i]
    if result >= 0:
        remember(made, parts, count, result)
    return result, n


@kernel
def new_of_union(sources, source_tl, tl, cad, top, T, unions_new, parts):
    """The cadence that holds the new instants of several sources; -1 where there are none."""
    count = 0
    for s in sources:
        if source_tl[s] >= 0:
            c = tl[source_tl[s], TL_CADENCE]
            if cad[c, CAD_LEN] > 0:
                count = with_part(parts, count, c)
    if count == 0:
        return -1
    result, n = union_of(parts, count, cad, CAD_AT, CAD_LEN, unions_new, T, top)
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
def full_of_union(sources, source_tl, tl, cad, top, T, unions_full, parts, first_start):
    """The timeline that holds all instants of several sources; -1 where there are none."""
    count = 0
    for s in sources:
        if source_tl[s] >= 0:
            count = with_part(parts, count, source_tl[s])
    if count == 0:
        return -1
    result, n = union_of(parts, count, tl, TL_AT, TL_LEN, unions_full, T, top)
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

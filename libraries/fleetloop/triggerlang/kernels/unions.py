"""Unions of lists of instants. The union of the same lists is computed once per vehicle."""

from __future__ import annotations

from fleetloop.triggerlang.kernels import Ints, kernel
from fleetloop.triggerlang.kernels.search import upper_bound
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
    TOP_TIMES,
    U_COUNT,
    U_MEMBERS,
    U_RESULT,
    allocate,
    copy,
)


@kernel
def merge(times: Ints, members: Ints, count: int, table: Ints, at_column: int, len_column: int, top: int) -> int:
    """Joins rising lists of instants into one without repeats, at times[top:]; returns its length.

    ``table[members[i]]`` says where list i is. Two are joined at a time: what is joined so far, and the next.
    """
    n = 0
    for member in range(count):
        row = table[members[member]]
        at, size = row[at_column], row[len_column]
        if member == 0:
            for i in range(size):
                times[top + i] = times[at + i]
            n = size
            continue
        # Joined from the back, so that nothing is overwritten before it is read.
        total = n + size
        i, k, to = n - 1, size - 1, top + total - 1
        while k >= 0:
            b = times[at + k]
            if i >= 0 and times[top + i] > b:
                times[to] = times[top + i]
                i -= 1
            else:
                if i >= 0 and times[top + i] == b:
                    i -= 1
                times[to] = b
                k -= 1
            to -= 1
        # Each repeat leaves an element unused between what was not moved and what was; the upper part closes the gap.
        gap = to - (top + i)
        if gap > 0:
            for p in range(to + 1, top + total):
                times[p - gap] = times[p]
        n = total - gap
    return n


@kernel
def sort_members(members: Ints, count: int) -> None:
    """Sorts the first ``count`` numbers by insertion: they are few, and mostly in order."""
    for i in range(1, count):
        v, k = members[i], i
        while k > 0 and members[k - 1] > v:
            members[k] = members[k - 1]
            k -= 1
        members[k] = v


@kernel
def known_union(known: Ints, members: Ints, count: int) -> int:
    """The result of a union of the same members; -1 where there was none."""
    for u in range(1, known[0, U_COUNT] + 1):
        if known[u, U_COUNT] != count:
            continue
        same = True
        for i in range(count):
            same = same and known[u, U_MEMBERS + i] == members[i]
        if same:
            result: int = known[u, U_RESULT]
            return result
    return -1


@kernel
def note_union(known: Ints, members: Ints, count: int, result: int) -> None:
    """Notes a union, so that the next one of the same members is the same. Where no row is free, it is not noted."""
    if known[0, U_COUNT] + 1 < known.shape[0] and count + U_MEMBERS <= known.shape[1]:
        known[0, U_COUNT] += 1
        row = known[known[0, U_COUNT]]
        row[U_COUNT], row[U_RESULT] = count, result
        copy(members[:count], row[U_MEMBERS:])


@kernel
def add_member(members: Ints, count: int, member: int) -> int:
    """Adds a list to those of a union unless it is there; returns how many there are."""
    for i in range(count):
        if members[i] == member:
            return count
    members[count] = member
    return count + 1


@kernel
def union_of(
    members: Ints, count: int, table: Ints, at_column: int, len_column: int, known: Ints, times: Ints, tops: Ints
) -> tuple[int, int]:
    """The list that holds all of several (a known union, or one of them) and 0; or -1 and a new one's length.

    A new one is at the top of the times, which are not allocated yet.
    """
    if count == 1:
        return members[0], 0
    sort_members(members, count)
    before = known_union(known, members, count)
    if before >= 0:
        return before, 0
    n = merge(times, members, count, table, at_column, len_column, tops[TOP_TIMES])
    result = -1
    for i in range(count):
        if table[members[i], len_column] == n:
            # As long as the union: it holds all the others.
            result = members[i]
    if result >= 0:
        note_union(known, members, count, result)
    return result, n


@kernel
def union_of_new(
    sources: Ints, source_timeline: Ints, timelines: Ints, cadences: Ints, known: Ints, members: Ints, times: Ints,
    tops: Ints,
) -> int:  # fmt: skip
    """The cadence that holds the new instants of several sources; -1 where there are none."""
    count = 0
    for source in sources:
        if source_timeline[source] >= 0:
            cadence = timelines[source_timeline[source], TL_CADENCE]
            if cadences[cadence, CAD_LEN] > 0:
                count = add_member(members, count, cadence)
    if count == 0:
        return -1
    result, n = union_of(members, count, cadences, CAD_AT, CAD_LEN, known, times, tops)
    if result < 0:
        result = allocate(tops, CADENCES, 1)
        row = cadences[result]
        row[CAD_AT], row[CAD_LEN] = allocate(tops, TOP_TIMES, n), n
        row[CAD_ID], row[CAD_COLUMN] = allocate(tops, NEXT_ID, 1), -1
        note_union(known, members, count, result)
    return result


@kernel
def union_of_all(
    sources: Ints, source_timeline: Ints, timelines: Ints, known: Ints, members: Ints, times: Ints, tops: Ints,
    first_start: int,
) -> int:  # fmt: skip
    """The timeline that holds all instants of several sources; -1 where there are none.

    ``first_start`` is the start of the first new batch: instants before it are remembered ones.
    """
    count = 0
    for source in sources:
        if source_timeline[source] >= 0:
            count = add_member(members, count, source_timeline[source])
    if count == 0:
        return -1
    result, n = union_of(members, count, timelines, TL_AT, TL_LEN, known, times, tops)
    if result < 0:
        result = allocate(tops, TIMELINES, 1)
        at = allocate(tops, TOP_TIMES, n)
        row = timelines[result]
        row[TL_AT], row[TL_LEN], row[TL_KEEP], row[TL_RAW] = at, n, -1, n
        row[TL_NEW] = upper_bound(times, at, at + n, first_start - 1) - at
        row[TL_COLUMN], row[TL_TAIL], row[TL_ROWS], row[TL_CADENCE] = -1, -2, -2, -1
        row[TL_GAP] = -1
        note_union(known, members, count, result)
    return result

"""Writes what has to be remembered of one vehicle; see ``remembered`` for the layout."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Bytes, Ints, kernel
from fleetloop.triggerlang.kernels.arguments import Log, Output, Pools, Program, Tables
from fleetloop.triggerlang.kernels.opcodes import Kind, bytes_of
from fleetloop.triggerlang.kernels.remembered import EDGE_BYTES, EDGE_HEAD_BYTES, write_edges
from fleetloop.triggerlang.kernels.search import upper_bound
from fleetloop.triggerlang.kernels.tables import (
    DONE,
    FULL_PACKED,
    G_FIRST,
    G_IDS,
    G_LISTS,
    ROOM,
    TIMELINES,
    TL_AT,
    TL_LEN,
    TOP_POSITIONS,
    copy,
)
from fleetloop.triggerlang.kernels.values import filled, write_numbers


@kernel
def rows_to_keep(end_ns: int, times: Ints, program: Program, tables: Tables, rows: Ints, most: Ints) -> None:
    """How many of its last points each source keeps, into ``rows``, and the most per timeline, into ``most``."""
    most[:] = 0
    for source in range(len(rows)):
        rows[source] = 0
        j = tables.source_timeline[source]
        if j < 0:
            continue
        begin, n = tables.timelines[j, TL_AT], tables.timelines[j, TL_LEN]
        # One point before the reach stays: it is what is known where the reach begins.
        low = max(upper_bound(times, begin, begin + n, end_ns - program.reach_ns[source]) - 1, begin)
        rows[source] = begin + n - low
        most[j] = max(most[j], rows[source])


@kernel
def list_range(group: Ints, rows: int, positions: Ints) -> tuple[int, int]:
    """First entry and number of entries of a group's last ``rows`` lists."""
    if rows == 0:
        return 0, 0
    end = group[G_FIRST] + group[G_LISTS]
    begin = positions[end - rows]
    return begin, positions[end] - begin


@kernel
def packed_bytes(words: int, instants: int, rows: Ints, program: Program, positions: Ints, groups: Ints) -> int:
    """At most how many bytes the points take: every value as if it took 8."""
    size = filled(4 * words) + 8 * instants
    for source in range(program.scalars):
        size += filled(8 * rows[source])
    for g in range(len(program.group_first) - 1):
        n = rows[program.scalars + g]
        _, entries = list_range(groups[g], n, positions)
        size += filled(4 * n) + 8 * entries * (program.group_first[g + 1] - program.group_first[g])
    return size


@kernel
def write_signals(rows: Ints, program: Program, pools: Pools, tables: Tables, out: Bytes, cursor: int) -> int:
    """Writes the scalar signals' last values; returns where they end."""
    for source in range(program.scalars):
        n = rows[source]
        if n == 0:
            continue
        kind = program.kinds[source]
        first = tables.source_at[source] + tables.timelines[tables.source_timeline[source], TL_LEN] - n
        if kind == Kind.BOOL:
            for i in range(n):
                out[cursor + i] = pools.truths[first + i]
        else:
            write_numbers(pools.numbers, first, n, kind, out, cursor)
        cursor += filled(n * bytes_of(kind))
    return cursor


@kernel
def write_group(g: int, n: int, program: Program, pools: Pools, tables: Tables, out: Bytes, cursor: int) -> int:
    """Writes a group's last n lists; returns where they end."""
    group, positions = tables.groups[g], pools.positions
    begin, entries = list_range(group, n, positions)
    last = group[G_FIRST] + group[G_LISTS]
    counts = out[cursor : cursor + 4 * n].view(np.int32)
    for i in range(n):
        counts[i] = positions[last - n + i + 1] - positions[last - n + i]
    cursor += filled(4 * n)
    ids = out[cursor : cursor + 8 * entries].view(np.int64)
    for e in range(entries):
        ids[e] = pools.times[group[G_IDS] + begin + e]
    cursor += 8 * entries
    for column in range(program.group_first[g] + 1, program.group_first[g + 1]):
        first = tables.listed_at[column] + begin
        if program.kinds[column] == Kind.BOOL:
            for e in range(entries):
                out[cursor + e] = pools.truths[first + e]
            cursor += filled(entries)
        else:
            write_numbers(pools.numbers, first, entries, Kind.FLOAT64, out, cursor)
            cursor += 8 * entries
    return cursor


@kernel
def pack_points(end_ns: int, program: Program, pools: Pools, tables: Tables, out: Bytes, to: int) -> int:
    """Writes the points that have to be remembered to out[to:]; returns where they end, or ``FULL_PACKED``."""
    groups = len(program.group_first) - 1
    sources, timelines = program.scalars + groups, tables.tops[TIMELINES]
    scratch = tables.tops[TOP_POSITIONS]
    most = pools.positions[scratch : scratch + timelines]
    number_of = pools.positions[scratch + timelines : scratch + 2 * timelines]
    rows = pools.positions[scratch + 2 * timelines : scratch + 2 * timelines + sources]
    rows_to_keep(end_ns, pools.times, program, tables, rows, most)
    stored = total = 0
    for j in range(timelines):
        number_of[j] = -1
        if most[j] > 0:
            number_of[j] = stored
            stored += 1
            total += most[j]
    words = 1 + stored + 2 * sources + groups
    if to + packed_bytes(words, total, rows, program, pools.positions, tables.groups) > len(out):
        return FULL_PACKED
    cursor = to + filled(4 * words)
    head = out[to:cursor].view(np.int32)
    head[0] = stored
    for j in range(timelines):
        if most[j] > 0:
            head[1 + number_of[j]] = most[j]
            end = tables.timelines[j, TL_AT] + tables.timelines[j, TL_LEN]
            copy(pools.times[end - most[j] : end], out[cursor : cursor + 8 * most[j]].view(np.int64))
            cursor += 8 * most[j]
    for source in range(sources):
        known = rows[source] > 0
        head[1 + stored + 2 * source] = number_of[tables.source_timeline[source]] if known else -1
        head[2 + stored + 2 * source] = rows[source]
    cursor = write_signals(rows, program, pools, tables, out, cursor)
    for g in range(groups):
        n = rows[program.scalars + g]
        _, entries = list_range(tables.groups[g], n, pools.positions)
        head[1 + stored + 2 * sources + g] = entries
        cursor = write_group(g, n, program, pools, tables, out, cursor)
    return cursor


@kernel
def pack(segment: int, log: Log, program: Program, pools: Pools, tables: Tables, output: Output) -> int:
    """Writes what has to be remembered of a segment behind the one before; returns a status of ``tables``."""
    begin, out = output.packed_at[segment], output.packed
    output.packed_at[segment + 1] = begin
    if log.late[segment]:
        return DONE
    edges = EDGE_BYTES * len(tables.false_s)
    if begin + edges + EDGE_HEAD_BYTES > len(out):
        output.need[ROOM] = 2 * len(out) + edges
        return FULL_PACKED
    points_at = write_edges(tables.false_s, tables.false_append_s, out, begin)
    end = pack_points(log.end_ns[segment], program, pools, tables, out, points_at)
    if end < 0:
        output.need[ROOM] = 2 * len(out)
        return FULL_PACKED
    output.packed_at[segment + 1] = end
    return DONE

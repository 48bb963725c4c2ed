"""Puts one vehicle's points into the pools: what is remembered of it, then what is new."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import inlined, int64, kernel
from fleetloop.triggerlang.kernels.arguments import Log, Pools, Program, Tables
from fleetloop.triggerlang.kernels.opcodes import Kind, bytes_of
from fleetloop.triggerlang.kernels.remembered import Tail, points_of, tail_of
from fleetloop.triggerlang.kernels.tables import (
    PIECE_ROWS,
    PIECE_VALUES,
    TL_KEEP,
    TL_LEN,
    TL_RAW,
    TOP_NUMBERS,
    TOP_TRUTHS,
    allocate,
)
from fleetloop.triggerlang.kernels.timelines import timeline_of
from fleetloop.triggerlang.kernels.track_lists import read_group
from fleetloop.triggerlang.kernels.values import filled, read_numbers, read_truths


@inlined
def read_signal(
    source: int, kind: int, cursor: int, low: int, high: int, tail: Tail, log: Log, pools: Pools, tables: Tables
) -> None:
    """Puts the values of a scalar signal into the pools, one for each instant of its timeline.

    ``cursor`` is the position in ``Log.memory`` of the remembered values. Of several values at one instant the last
    stays.
    """
    timeline = tables.timelines[tables.source_timeline[source]]
    is_truth = kind == Kind.BOOL
    to = allocate(tables.tops, TOP_TRUTHS if is_truth else TOP_NUMBERS, timeline[TL_RAW])
    tables.source_at[source] = to
    n = tail.kept
    if is_truth:
        for i in range(n):
            pools.truths[to + i] = np.int8(log.memory[cursor + tail.dropped + i])
    elif n > 0:
        read_numbers(log.memory, cursor + tail.dropped * bytes_of(kind), n, kind, pools.numbers, to)
    for k in range(low, high):
        i = log.batches[k]
        at, rows = log.pieces[i, source, PIECE_VALUES], log.pieces[i, source, PIECE_ROWS]
        if at < 0:
            continue
        if is_truth:
            read_truths(log.data, at, rows, pools.truths, to + n)
        else:
            read_numbers(log.data, at, rows, kind, pools.numbers, to + n)
        n += rows
    keep = timeline[TL_KEEP]
    if keep >= 0:
        for i in range(timeline[TL_LEN]):
            p = pools.positions[keep + i]
            if is_truth:
                pools.truths[to + i] = pools.truths[to + p]
            else:
                pools.numbers[to + i] = pools.numbers[to + p]


@kernel
def read_vehicle(segment: int, points_at: int, log: Log, program: Program, pools: Pools, tables: Tables) -> None:
    """Puts a segment's points into the pools. ``points_at`` is where they begin in ``Log.memory``."""
    low, high = log.segment_first[segment], log.segment_first[segment + 1]
    forget_ns = log.forget_ns[segment]
    groups = len(program.group_first) - 1
    sources = program.scalars + groups
    points = points_of(log.memory, points_at, log.memory_size[segment], sources, groups, pools.positions, tables.tops)
    cursor = points.values_at
    for source in range(sources):
        is_group = source >= program.scalars
        column = program.group_first[source - program.scalars] if is_group else source
        tail = tail_of(points, source, forget_ns, pools.positions)
        timeline = timeline_of(column, low, high, tail, points.times, log, pools, tables)
        tables.source_timeline[source] = timeline
        if is_group:
            g = source - program.scalars
            entries = int64(points.words[points.group_words + g]) if points.timelines > 0 else 0
            cursor = read_group(g, cursor, low, high, tail, entries, log, program, pools, tables)
            continue
        kind = program.kinds[source]
        if timeline >= 0:
            read_signal(source, kind, cursor, low, high, tail, log, pools, tables)
        cursor += filled(tail.rows * bytes_of(kind))

"""Puts the lists of one track group into the pools: in their order, and sorted by track."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fleetloop.triggerlang.kernels import Int32s, Ints, Numbers, Truths, int64, kernel
from fleetloop.triggerlang.kernels.arguments import Log, Pools, Program, Tables
from fleetloop.triggerlang.kernels.opcodes import UNKNOWN, Kind
from fleetloop.triggerlang.kernels.remembered import Tail
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_ENTRIES,
    G_FIRST,
    G_ID,
    G_IDS,
    G_LISTS,
    G_ORDER,
    G_OWNER,
    G_TIMES,
    G_TRACKS,
    NEXT_ID,
    PIECE_ROWS,
    PIECE_SPLITS,
    PIECE_VALUES,
    TL_AT,
    TL_KEEP,
    TL_LEN,
    TL_RAW,
    TOP_NUMBERS,
    TOP_POSITIONS,
    TOP_TIMES,
    TOP_TRUTHS,
    allocate,
)
from fleetloop.triggerlang.kernels.tracks import SCRATCH, SCRATCH_PER_ENTRY, sort_into_tracks
from fleetloop.triggerlang.kernels.values import filled, read_numbers, read_truths
from fleetloop.triggerlang.kernels.wire import uint32_at


class Entries(NamedTuple):
    """Which entries of a group there are, and which of them stay."""

    first_column: int
    """The column of the group's Id."""
    low: int
    """Position in ``Log.batches`` of the vehicle's first new batch."""
    high: int
    """The position after the last."""
    remembered: int
    """Entries that are remembered."""
    skipped: int
    """How many of them, the first ones, are forgotten now."""
    picks_at: int
    """Position in ``Pools.positions`` of (kept,) positions of the entries that stay, among all that are not
    forgotten.
    """
    kept: int
    """Entries that stay: those of lists that no later list replaces."""


@kernel
def clear_group(group: Ints, positions: Ints, tops: Ints) -> None:
    """Makes a group that has no list."""
    group[:] = 0
    group[G_BEGINS] = allocate(tops, TOP_POSITIONS, 1)
    positions[group[G_BEGINS]] = 0
    group[G_ID] = allocate(tops, NEXT_ID, 1)


@kernel
def list_lengths(
    counts: Int32s, first: int, last: int, low: int, high: int, column: int, log: Log, out: Ints
) -> None:
    """The lengths of the lists: remembered ones, ``counts[first:last]``, then those of the new batches."""
    n = 0
    for i in range(first, last):
        out[n] = counts[i]
        n += 1
    for k in range(low, high):
        piece = log.pieces[log.batches[k], column]
        if piece[PIECE_VALUES] < 0:
            continue
        rows, splits_at = piece[PIECE_ROWS], piece[PIECE_SPLITS]
        splits = log.data[splits_at : splits_at + 4 * (rows + 1)].view(np.uint32)
        for r in range(rows):
            out[n] = int64(splits[r + 1]) - int64(splits[r])
            n += 1


@kernel
def pick_entries(lengths: Ints, keep: int, lists: int, positions: Ints, first_at: int, picks_at: int) -> int:
    """Which entries stay; returns how many.

    Writes the first entry of each list that stays, and the end, to positions[first_at:], and the entries' positions
    among all to positions[picks_at:]. ``keep`` is the timeline's TL_KEEP: of several lists at one instant the last
    stays.
    """
    kept = stayed = entry = 0
    for i in range(len(lengths)):
        stays = keep < 0 or (stayed < lists and positions[keep + stayed] == i)
        if stays:
            positions[first_at + stayed] = kept
            stayed += 1
        for _ in range(lengths[i]):
            if stays:
                positions[picks_at + kept] = entry
                kept += 1
            entry += 1
    positions[first_at + lists] = kept
    return kept


@kernel
def gather_ids(ids_at: int, entries: Entries, log: Log, pools: Pools, tops: Ints) -> int:
    """Puts the entries' track ids into the times, list after list; returns where they begin.

    ``ids_at`` is the position in ``Log.memory`` of the remembered ones.
    """
    times, to = pools.times, tops[TOP_TIMES]
    remembered = log.memory[ids_at : ids_at + 8 * entries.remembered].view(np.int64)
    n = 0
    for i in range(entries.skipped, entries.remembered):
        times[to + n] = remembered[i]
        n += 1
    for k in range(entries.low, entries.high):
        piece = log.pieces[log.batches[k], entries.first_column]
        if piece[PIECE_VALUES] < 0:
            continue
        size = uint32_at(log.data, piece[PIECE_SPLITS] + 4 * piece[PIECE_ROWS])
        new = log.data[piece[PIECE_VALUES] : piece[PIECE_VALUES] + 8 * size].view(np.int64)
        for e in range(size):
            times[to + n + e] = new[e]
        n += size
    for e in range(entries.kept):
        times[to + e] = times[to + pools.positions[entries.picks_at + e]]
    tops[TOP_TIMES] += n
    return int(to)


@kernel
def sort_group(group: Ints, timeline_at: int, kept: int, times: Ints, positions: Ints, tops: Ints) -> None:
    """Sorts a group's entries by track, and gives each entry the instant of its list."""
    lists, first_at = group[G_LISTS], group[G_FIRST]
    order_at = allocate(tops, TOP_POSITIONS, 2 * kept)
    begins_at = allocate(tops, TOP_POSITIONS, kept + 1)
    scratch = tops[TOP_POSITIONS]
    owner = positions[order_at + kept : order_at + 2 * kept]
    begins = positions[begins_at : begins_at + kept + 1]
    tracks = sort_into_tracks(
        times[group[G_IDS] : group[G_IDS] + kept], positions[first_at : first_at + lists + 1], lists,
        positions[order_at : order_at + kept], begins, owner,
        positions[scratch : scratch + SCRATCH_PER_ENTRY * kept + SCRATCH],
    )  # fmt: skip
    group[G_ENTRIES], group[G_TRACKS] = begins[tracks], tracks
    group[G_BEGINS], group[G_OWNER], group[G_ORDER] = begins_at, order_at + kept, order_at
    group[G_TIMES] = allocate(tops, TOP_TIMES, begins[tracks])
    for e in range(begins[tracks]):
        times[group[G_TIMES] + e] = times[timeline_at + owner[e]]


@kernel
def arrange_numbers(values: Numbers, to: int, n: int, picks: Ints, order: Ints) -> None:
    """Keeps of n values those that stay, and writes them by track behind the n."""
    for e in range(len(picks)):
        values[to + e] = values[to + picks[e]]
    for e in range(len(order)):
        values[to + n + e] = values[to + order[e]]


@kernel
def arrange_truths(values: Truths, to: int, n: int, picks: Ints, order: Ints) -> None:
    """``arrange_numbers`` of truth values."""
    for e in range(len(picks)):
        values[to + e] = values[to + picks[e]]
    for e in range(len(order)):
        values[to + n + e] = values[to + order[e]]


@kernel
def read_field(
    column: int, kind: int, values_at: int, group: Ints, entries: Entries, log: Log, pools: Pools, tables: Tables
) -> None:
    """Puts one field of a group into the pools, by list and by track; unknown where a batch has no such column.

    ``values_at`` is the position in ``Log.memory`` of the remembered values.
    """
    truths, numbers, tops = pools.truths, pools.numbers, tables.tops
    is_truth = kind == Kind.BOOL
    pool = TOP_TRUTHS if is_truth else TOP_NUMBERS
    to = tops[pool]
    n = entries.remembered - entries.skipped
    if is_truth:
        for e in range(n):
            truths[to + e] = np.int8(log.memory[values_at + entries.skipped + e])
    else:
        read_numbers(log.memory, values_at + 8 * entries.skipped, n, Kind.FLOAT64, numbers, to)
    for k in range(entries.low, entries.high):
        i = log.batches[k]
        ids = log.pieces[i, entries.first_column]
        if ids[PIECE_VALUES] < 0:
            continue
        size = uint32_at(log.data, ids[PIECE_SPLITS] + 4 * ids[PIECE_ROWS])
        at = log.pieces[i, column, PIECE_VALUES]
        if is_truth:
            if at < 0:
                truths[to + n : to + n + size] = UNKNOWN
            else:
                read_truths(log.data, at, size, truths, to + n)
        elif at < 0:
            numbers[to + n : to + n + size] = np.nan
        else:
            read_numbers(log.data, at, size, kind, numbers, to + n)
        n += size
    picks = pools.positions[entries.picks_at : entries.picks_at + entries.kept]
    order = pools.positions[group[G_ORDER] : group[G_ORDER] + group[G_ENTRIES]]
    if is_truth:
        arrange_truths(truths, to, n, picks, order)
    else:
        arrange_numbers(numbers, to, n, picks, order)
    tables.listed_at[column], tables.field_at[column] = to, to + n
    tops[pool] = to + n + group[G_ENTRIES]


@kernel
def read_ids_as_field(column: int, group: Ints, pools: Pools, tables: Tables) -> None:
    """Puts the ids into the numbers too, by track, since Id is a field that conditions may read."""
    at = allocate(tables.tops, TOP_NUMBERS, group[G_ENTRIES])
    tables.field_at[column] = at
    for e in range(group[G_ENTRIES]):
        pools.numbers[at + e] = pools.times[group[G_IDS] + pools.positions[group[G_ORDER] + e]]


@kernel
def read_group(
    g: int, cursor: int, low: int, high: int, tail: Tail, remembered: int, log: Log, program: Program, pools: Pools,
    tables: Tables,
) -> int:  # fmt: skip
    """Puts a track group's lists into the pools.

    Args:
        g: The group.
        cursor: Position in ``Log.memory`` of what is remembered of it.
        low: Position in ``Log.batches`` of the vehicle's first new batch.
        high: The position after the last.
        tail: Its remembered lists.
        remembered: Its remembered entries.
        log: The batches.
        program: The columns.
        pools: Where the values go.
        tables: Where ``groups``, ``field_at`` and ``listed_at`` are filled.

    Returns:
        The position in ``Log.memory`` after what is remembered of this group.
    """
    first_column, last_column = program.group_first[g], program.group_first[g + 1]
    ids_at = cursor + filled(4 * tail.rows)
    values_at = ids_at + 8 * remembered
    group, tops = tables.groups[g], tables.tops
    clear_group(group, pools.positions, tops)
    tables.field_at[first_column:last_column] = 0
    tables.listed_at[first_column:last_column] = 0
    j = tables.source_timeline[program.scalars + g]
    entries = Entries(first_column, low, high, remembered, 0, 0, 0)
    if j >= 0:
        counts = log.memory[cursor : cursor + 4 * tail.rows].view(np.int32)
        raw, lists = tables.timelines[j, TL_RAW], tables.timelines[j, TL_LEN]
        lengths_at = allocate(tops, TOP_POSITIONS, raw)
        lengths = pools.positions[lengths_at : lengths_at + raw]
        list_lengths(counts, tail.dropped, tail.rows, low, high, first_column, log, lengths)
        first_at = allocate(tops, TOP_POSITIONS, lists + 1)
        picks_at = allocate(tops, TOP_POSITIONS, lengths.sum())
        kept = pick_entries(lengths, tables.timelines[j, TL_KEEP], lists, pools.positions, first_at, picks_at)
        entries = Entries(first_column, low, high, remembered, int64(counts[: tail.dropped].sum()), picks_at, kept)
        group[G_LISTS], group[G_FIRST] = lists, first_at
        group[G_IDS] = gather_ids(ids_at, entries, log, pools, tops)
        sort_group(group, tables.timelines[j, TL_AT], kept, pools.times, pools.positions, tops)
        read_ids_as_field(first_column, group, pools, tables)
    for column in range(first_column + 1, last_column):
        kind = program.kinds[column]
        if j >= 0:
            read_field(column, kind, values_at, group, entries, log, pools, tables)
        values_at += filled(remembered) if kind == Kind.BOOL else 8 * remembered
    return values_at

"""Puts one vehicle's points into the pools: what is remembered of it, then what is new."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.ingest import filled, read_codes, read_numbers, sort_into_tracks, upper_bound
from fleetloop.triggerlang.kernels.opcodes import UNKNOWN, Kind, bytes_of
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
    TL_AT,
    TL_KEEP,
    TL_LEN,
    TL_RAW,
    TOP_C,
    TOP_F,
    TOP_P,
    TOP_T,
)
from fleetloop.triggerlang.kernels.timelines import timeline_of


@kernel
def sizes_of(blob, at, sources, groups):
    """Of what is remembered at ``at``: where the words of the sources, of the groups, and the instants are."""
    words = blob[at : at + 4].view(np.int32)
    stored = words[0]
    source_words = 1 + stored
    group_words = source_words + 2 * sources
    return stored, source_words, group_words, at + filled(4 * (group_words + groups))


@kernel
def read_group(
    data, pieces, batches, low, high, blob, cursor, rows, dropped, entries, kinds, first_column, last_column, j,
    group, field_at, listed_at, tl, top, T, F, C, P,
):  # fmt: skip
    """A track group's lists, in their order and sorted into tracks; returns where the memory goes on."""
    counts_at = cursor
    ids_at = counts_at + filled(4 * rows)
    fields_at = ids_at + 8 * entries
    group[G_LISTS] = group[G_ENTRIES] = group[G_TRACKS] = 0
    group[G_FIRST] = group[G_IDS] = group[G_TIMES] = group[G_OWNER] = group[G_ORDER] = 0
    group[G_BEGINS] = top[TOP_P]
    P[top[TOP_P]] = 0
    top[TOP_P] += 1
    group[G_ID] = top[NEXT_ID]
    top[NEXT_ID] += 1
    for column in range(first_column, last_column):
        field_at[column] = listed_at[column] = 0
    end = fields_at
    for column in range(first_column + 1, last_column):
        end += filled(entries) if kinds[column] == Kind.BOOL else 8 * entries
    if j < 0:
        return end
    # lengths of all lists, then which entries stay
    raw = tl[j, TL_RAW]
    lengths = P[top[TOP_P] : top[TOP_P] + raw]
    top[TOP_P] += raw
    counts = blob[counts_at : counts_at + 4 * rows].view(np.int32)
    skipped = 0
    for i in range(dropped):
        skipped += counts[i]
    n = 0
    for i in range(dropped, rows):
        lengths[n] = counts[i]
        n += 1
    for k in range(low, high):
        i = batches[k]
        if pieces[i, first_column, 0] < 0:
            continue
        fresh, splits_at = pieces[i, first_column, 1], pieces[i, first_column, 3]
        splits = data[splits_at : splits_at + 4 * (fresh + 1)].view(np.uint32)
        for r in range(fresh):
            lengths[n] = np.int64(splits[r + 1]) - np.int64(splits[r])
            n += 1
    lists = tl[j, TL_LEN]
    begins_at = top[TOP_P]
    list_first = P[begins_at : begins_at + lists + 1]
    top[TOP_P] += lists + 1
    total = 0
    for i in range(raw):
        total += lengths[i]
    picks_at = top[TOP_P]
    picks = P[picks_at : picks_at + total]
    top[TOP_P] += total
    keep = tl[j, TL_KEEP]
    kept = place = entry = 0
    for i in range(raw):
        stays = keep < 0 or (place < lists and P[keep + place] == i)
        if stays:
            list_first[place] = kept
            place += 1
        for _ in range(lengths[i]):
            if stays:
                picks[kept] = entry
                kept += 1
            entry += 1
    list_first[lists] = kept
    # ids in the lists' order
    ids_to = top[TOP_T]
    n = 0
    old = blob[ids_at : ids_at + 8 * entries].view(np.int64)
    for i in range(skipped, entries):
        T[ids_to + n] = old[i]
        n += 1
    for k in range(low, high):
        i = batches[k]
        if pieces[i, first_column, 0] < 0:
            continue
        fresh, splits_at = pieces[i, first_column, 1], pieces[i, first_column, 3]
        size = np.int64(data[splits_at + 4 * fresh : splits_at + 4 * fresh + 4].view(np.uint32)[0])
        at = pieces[i, first_column, 0]
        new = data[at : at + 8 * size].view(np.int64)
        for e in range(size):
            T[ids_to + n + e] = new[e]
        n += size
    for e in range(kept):
        T[ids_to + e] = T[ids_to + picks[e]]
    top[TOP_T] = ids_to + n
    ids = T[ids_to : ids_to + kept]
    order_at = top[TOP_P]
    order, owner = P[order_at : order_at + kept], P[order_at + kept : order_at + 2 * kept]
    track_begins_at = order_at + 2 * kept
    track_begins = P[track_begins_at : track_begins_at + kept + 1]
    table = P[track_begins_at + kept + 1 : track_begins_at + kept + 1 + 10 * kept + 16]
    tracks = sort_into_tracks(ids, list_first, lists, order, track_begins, owner, table)
    top[TOP_P] = track_begins_at + kept + 1
    sorted_entries = track_begins[tracks]
    times_at = top[TOP_T]
    for e in range(sorted_entries):
        T[times_at + e] = T[tl[j, TL_AT] + owner[e]]
    top[TOP_T] += sorted_entries
    group[G_LISTS], group[G_FIRST], group[G_IDS], group[G_ENTRIES] = lists, begins_at, ids_to, sorted_entries
    group[G_TIMES], group[G_BEGINS], group[G_TRACKS] = times_at, track_begins_at, tracks
    group[G_OWNER], group[G_ORDER] = order_at + kept, order_at
    field_at[first_column] = top[TOP_F]
    for e in range(sorted_entries):
        F[top[TOP_F] + e] = ids[order[e]]
    top[TOP_F] += sorted_entries
    cursor = fields_at
    for column in range(first_column + 1, last_column):
        kind = kinds[column]
        to = top[TOP_C] if kind == Kind.BOOL else top[TOP_F]
        n = entries - skipped
        if kind == Kind.BOOL:
            for e in range(n):
                C[to + e] = np.int8(blob[cursor + skipped + e])
            cursor += filled(entries)
        else:
            read_numbers(blob, cursor + 8 * skipped, n, Kind.FLOAT64, F, to)
            cursor += 8 * entries
        for k in range(low, high):
            i = batches[k]
            if pieces[i, first_column, 0] < 0:
                continue
            fresh, splits_at = pieces[i, first_column, 1], pieces[i, first_column, 3]
            size = np.int64(data[splits_at + 4 * fresh : splits_at + 4 * fresh + 4].view(np.uint32)[0])
            at = pieces[i, column, 0]
            if kind == Kind.BOOL:
                if at < 0:
                    C[to + n : to + n + size] = UNKNOWN
                else:
                    read_codes(data, at, size, C, to + n)
            elif at < 0:
                F[to + n : to + n + size] = np.nan
            else:
                read_numbers(data, at, size, kind, F, to + n)
            n += size
        listed_at[column] = to
        if kind == Kind.BOOL:
            for e in range(kept):
                C[to + e] = C[to + picks[e]]
            field_at[column] = to + n
            for e in range(sorted_entries):
                C[to + n + e] = C[to + order[e]]
            top[TOP_C] = to + n + sorted_entries
        else:
            for e in range(kept):
                F[to + e] = F[to + picks[e]]
            field_at[column] = to + n
            for e in range(sorted_entries):
                F[to + n + e] = F[to + order[e]]
            top[TOP_F] = to + n + sorted_entries
    return end


@kernel
def read_vehicle(
    data, pieces, batches, low, high, start_ns, frame_at, blob, at, length, forget_ns, kinds, plain, group_first,
    source_tl, source_at, groups, field_at, listed_at, tl, cad, top, T, F, C, P,
):  # fmt: skip
    """Puts a vehicle's points into the pools: what is remembered, then what is new."""
    group_count = len(group_first) - 1
    sources = plain + group_count
    memory = blob[0:0].view(np.int64)
    words = blob[0:0].view(np.int32)
    stored = source_words = group_words = 0
    cursor = at
    tl_first = P[top[TOP_P] : top[TOP_P] + 1]
    if length > 0:
        stored, source_words, group_words, cursor = sizes_of(blob, at, sources, group_count)
        words = blob[at : at + filled(4 * (group_words + group_count))].view(np.int32)
        tl_first = P[top[TOP_P] : top[TOP_P] + stored + 1]
        top[TOP_P] += stored + 1
        total = 0
        for i in range(stored):
            tl_first[i] = total
            total += words[1 + i]
        tl_first[stored] = total
        memory = blob[cursor : cursor + 8 * total].view(np.int64)
        cursor += 8 * total
    for s in range(sources):
        column = s if s < plain else group_first[s - plain]
        rows = dropped = tail_at = 0
        tail_id = -1
        if length > 0 and words[source_words + 2 * s + 1] > 0:
            tail_id, rows = words[source_words + 2 * s], words[source_words + 2 * s + 1]
            tail_at = tl_first[tail_id + 1] - rows
            kept_from = upper_bound(memory, tail_at, tail_at + rows, forget_ns)
            dropped = kept_from - tail_at
            tail_at = kept_from
        left = rows - dropped
        if left == 0:
            tail_id = -1
        j = timeline_of(
            data, pieces, batches, low, high, start_ns, frame_at, column, memory, tail_at, left, tail_id, tl, cad,
            top, T, P,
        )  # fmt: skip
        source_tl[s] = j
        if s >= plain:
            g = s - plain
            entries = words[group_words + g] if length > 0 else 0
            cursor = read_group(
                data, pieces, batches, low, high, blob, cursor, rows, dropped, entries, kinds, group_first[g],
                group_first[g + 1], j, groups[g], field_at, listed_at, tl, top, T, F, C, P,
            )  # fmt: skip
            continue
        kind = kinds[s]
        size = bytes_of(kind)
        if j < 0:
            cursor += filled(rows * size)
            continue
        raw = tl[j, TL_RAW]
        to = top[TOP_C] if kind == Kind.BOOL else top[TOP_F]
        source_at[s] = to
        n = left
        if kind == Kind.BOOL:
            for i in range(left):
                C[to + i] = np.int8(blob[cursor + dropped + i])
        elif left > 0:
            read_numbers(blob, cursor + dropped * size, left, kind, F, to)
        cursor += filled(rows * size)
        for k in range(low, high):
            i = batches[k]
            if pieces[i, s, 0] < 0:
                continue
            fresh = pieces[i, s, 1]
            if kind == Kind.BOOL:
                read_codes(data, pieces[i, s, 0], fresh, C, to + n)
            else:
                read_numbers(data, pieces[i, s, 0], fresh, kind, F, to + n)
            n += fresh
        if tl[j, TL_KEEP] >= 0:
            for i in range(tl[j, TL_LEN]):
                p = P[tl[j, TL_KEEP] + i]
                if kind == Kind.BOOL:
                    C[to + i] = C[to + p]
                else:
                    F[to + i] = F[to + p]
        if kind == Kind.BOOL:
            top[TOP_C] = to + raw
        else:
            top[TOP_F] = to + raw

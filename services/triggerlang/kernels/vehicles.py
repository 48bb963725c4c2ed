"""The way of one vehicle through a block: its points are read, the triggers decided, and what has to be
remembered is packed.
"""

from __future__ import annotations

import numpy as np

from triggerlang.kernels import kernel
from triggerlang.kernels.ingest import (
    filled,
    read_codes,
    read_edges,
    read_numbers,
    sort_into_tracks,
    upper_bound,
    write_edges,
    write_numbers,
)
from triggerlang.kernels.machine import (
    CADENCES,
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
    MEMO,
    NEXT_ID,
    Q_AT,
    Q_CADENCE,
    Q_GROUP,
    Q_ID,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    TIMELINES,
    TL_AT,
    TL_KEEP,
    TL_LEN,
    TL_RAW,
    TOP_C,
    TOP_F,
    TOP_P,
    TOP_T,
    execute,
    foresee,
    timeline_of,
    want,
    want_code,
)

CANDIDATE_SEGMENT, CANDIDATE_BATCH, CANDIDATE_TRIGGER, CANDIDATE_NS, CANDIDATE_DETAIL = range(5)
FULL_CANDIDATES, FULL_DETAILS, FULL_PACKED, FULL_POOLS, FULL_PAGE = -1, -2, -3, -4, -5


@kernel
def sizes_of(blob, at, sources, groups):
    """Of what is remembered at ``at``: where the words of the sources, of the groups, and the instants are."""
    words = blob[at : at + 4].view(np.int32)
    stored = words[0]
    source_words = 1 + stored
    group_words = source_words + 2 * sources
    return stored, source_words, group_words, at + filled(4 * (group_words + groups))


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
        size = 1 if kind == 0 else 4 if kind == 1 or kind == 3 else 2 if kind == 5 else 8
        if j < 0:
            cursor += filled(rows * size)
            continue
        raw = tl[j, TL_RAW]
        to = top[TOP_C] if kind == 0 else top[TOP_F]
        source_at[s] = to
        n = left
        if kind == 0:
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
            if kind == 0:
                read_codes(data, pieces[i, s, 0], fresh, C, to + n)
            else:
                read_numbers(data, pieces[i, s, 0], fresh, kind, F, to + n)
            n += fresh
        if tl[j, TL_KEEP] >= 0:
            for i in range(tl[j, TL_LEN]):
                p = P[tl[j, TL_KEEP] + i]
                if kind == 0:
                    C[to + i] = C[to + p]
                else:
                    F[to + i] = F[to + p]
        if kind == 0:
            top[TOP_C] = to + raw
        else:
            top[TOP_F] = to + raw


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
        end += filled(entries) if kinds[column] == 0 else 8 * entries
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
        to = top[TOP_C] if kind == 0 else top[TOP_F]
        n = entries - skipped
        if kind == 0:
            for e in range(n):
                C[to + e] = np.int8(blob[cursor + skipped + e])
            cursor += filled(entries)
        else:
            read_numbers(blob, cursor + 8 * skipped, n, 4, F, to)
            cursor += 8 * entries
        for k in range(low, high):
            i = batches[k]
            if pieces[i, first_column, 0] < 0:
                continue
            fresh, splits_at = pieces[i, first_column, 1], pieces[i, first_column, 3]
            size = np.int64(data[splits_at + 4 * fresh : splits_at + 4 * fresh + 4].view(np.uint32)[0])
            at = pieces[i, column, 0]
            if kind == 0:
                if at < 0:
                    C[to + n : to + n + size] = 1
                else:
                    read_codes(data, at, size, C, to + n)
            elif at < 0:
                F[to + n : to + n + size] = np.nan
            else:
                read_numbers(data, at, size, kind, F, to + n)
            n += size
        listed_at[column] = to
        if kind == 0:
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
def pack(
    end_ns, reach_ns, kinds, plain, group_first, source_tl, source_at, groups, listed_at, tl, top, T, F, C, P, out, to
):  # fmt: skip
    """Writes what has to be remembered from ``to`` on; returns where it ends, or ``FULL_PACKED``."""
    group_count = len(group_first) - 1
    sources = plain + group_count
    timelines = top[TIMELINES]
    scratch = top[TOP_P]
    most, place_of = P[scratch : scratch + timelines], P[scratch + timelines : scratch + 2 * timelines]
    rows = P[scratch + 2 * timelines : scratch + 2 * timelines + sources]
    most[:] = 0
    for s in range(sources):
        rows[s] = 0
        j = source_tl[s]
        if j < 0:
            continue
        begin, n = tl[j, TL_AT], tl[j, TL_LEN]
        # one point before the reach stays: it is what is known at the reach's beginning
        low = max(upper_bound(T, begin, begin + n, end_ns - reach_ns[s]) - 1, begin)
        rows[s] = begin + n - low
        most[j] = max(most[j], rows[s])
    stored = total = 0
    for j in range(timelines):
        place_of[j] = -1
        if most[j] > 0:
            place_of[j] = stored
            stored += 1
            total += most[j]
    words = 1 + stored + 2 * sources + group_count
    need = filled(4 * words) + 8 * total
    for s in range(sources):
        if s < plain:
            need += filled(8 * rows[s])
    for g in range(group_count):
        n = rows[plain + g]
        lists = groups[g, G_LISTS]
        first = groups[g, G_FIRST]
        entries = P[first + lists] - P[first + lists - n] if n > 0 else 0
        need += filled(4 * n) + 8 * entries * (group_first[g + 1] - group_first[g])
    if to + need > len(out):
        return FULL_PACKED
    head = out[to : to + filled(4 * words)].view(np.int32)
    head[0] = stored
    for j in range(timelines):
        if most[j] > 0:
            head[1 + place_of[j]] = most[j]
    for s in range(sources):
        head[1 + stored + 2 * s] = place_of[source_tl[s]] if rows[s] > 0 else -1
        head[2 + stored + 2 * s] = rows[s]
    cursor = to + filled(4 * words)
    for j in range(timelines):
        if most[j] > 0:
            times = out[cursor : cursor + 8 * most[j]].view(np.int64)
            times[:] = T[tl[j, TL_AT] + tl[j, TL_LEN] - most[j] : tl[j, TL_AT] + tl[j, TL_LEN]]
            cursor += 8 * most[j]
    for s in range(plain):
        n = rows[s]
        if n == 0:
            continue
        kind = kinds[s]
        first = source_at[s] + tl[source_tl[s], TL_LEN] - n
        if kind == 0:
            for i in range(n):
                out[cursor + i] = C[first + i]
            cursor += filled(n)
        else:
            write_numbers(F, first, n, kind, out, cursor)
            size = 4 if kind == 1 or kind == 3 else 2 if kind == 5 else 8
            cursor += filled(n * size)
    for g in range(group_count):
        n = rows[plain + g]
        lists, first = groups[g, G_LISTS], groups[g, G_FIRST]
        begin = P[first + lists - n] if n > 0 else 0
        entries = P[first + lists] - begin if n > 0 else 0
        head[1 + stored + 2 * sources + g] = entries
        counts = out[cursor : cursor + 4 * n].view(np.int32)
        for i in range(n):
            counts[i] = P[first + lists - n + i + 1] - P[first + lists - n + i]
        cursor += filled(4 * n)
        ids = out[cursor : cursor + 8 * entries].view(np.int64)
        for e in range(entries):
            ids[e] = T[groups[g, G_IDS] + begin + e]
        cursor += 8 * entries
        for column in range(group_first[g] + 1, group_first[g + 1]):
            if kinds[column] == 0:
                for e in range(entries):
                    out[cursor + e] = C[listed_at[column] + begin + e]
                cursor += filled(entries)
            else:
                write_numbers(F, listed_at[column] + begin, entries, 4, out, cursor)
                cursor += 8 * entries
    return cursor


@kernel
def onsets(
    codes, times, always, fenced, interval_ns, from_ns, until_ns, memory_s, batches, low, high, start_ns, utc_ns,
    append_ms, false_s, false_append_s, found, found_batch,
):  # fmt: skip
    """Where a trigger fires among its instants; returns how many, at most one in each slot unless fenced.

    It turns true where it is known to be true and was last known to be false, both within the memory by event
    time and by the broker's clock. Unknown in between changes nothing. ``false_s`` and ``false_append_s`` are
    (1,): when it was last false, -1 for not since it was last true.
    """
    n = len(codes)
    if n == 0:
        return 0
    some = np.int8(0)
    for i in range(n):
        some |= codes[i]
    if some == 0:
        if always:
            return 0
        k = high - 1
        while k > low and start_ns[batches[k]] > times[n - 1]:
            k -= 1
        false_s[0], false_append_s[0] = times[n - 1] // 1_000_000_000, append_ms[batches[k]] // 1000
        return 0
    count = 0
    k = low
    slot = np.int64(-1)
    for i in range(n):
        c = codes[i]
        if c == 1:
            continue
        t = times[i]
        while k + 1 < high and start_ns[batches[k + 1]] <= t:
            k += 1
        b = batches[k]
        if c == 0:
            if not always:
                false_s[0], false_append_s[0] = t // 1_000_000_000, append_ms[b] // 1000
            continue
        fires = always
        if not always:
            fires = (
                false_s[0] >= 0
                and t // 1_000_000_000 - false_s[0] <= memory_s
                and append_ms[b] // 1000 - false_append_s[0] <= memory_s
            )
            false_s[0] = false_append_s[0] = -1
        if not fires:
            continue
        utc = t + utc_ns[b] - start_ns[b]
        if utc < from_ns or (until_ns > 0 and utc >= until_ns):
            continue
        if not fenced:
            if count > 0 and t // interval_ns == slot:
                continue
            slot = t // interval_ns
        found[count], found_batch[count] = t, k
        count += 1
    return count


@kernel
def run(
    data, pieces, start_ns, utc_ns, append_ms, frame_at,
    batches, segment_first, end_ns, forget_ns, late, blob, blob_at, blob_len,
    kinds, plain, group_first, reach_ns, code, main, float_made, code_made, unions, union_first, constants,
    triggers, detail_first, named_first, named, evidence_first, evidence,
    always, fenced, interval_ns, from_ns, until_ns, memory_s,
    false_s, false_append_s, queries, floats, codes, T, F, C, P, S, page, fixed_f, fixed_c, tl, cad, memo,
    union_new, union_full, parts, source_tl, source_at, known_at, groups, field_at, listed_at, top,
    source_bounds, field_bounds, float_bounds, code_bounds, needed, candidates, details, packed, packed_at, counts, need,
):  # fmt: skip
    """Runs the program over vehicles. Returns 0, or which room was too small (``need`` says how much).

    Fills ``candidates`` and ``details`` (``counts`` says how many), ``packed`` with what each vehicle leaves
    (``packed_at``: (segments + 1,)). ``false_s`` and ``false_append_s`` are (triggers,) scratch.
    """
    segments = len(segment_first) - 1
    found_count = detail_count = 0
    packed_at[0] = 0
    for segment in range(segments):
        low, high = segment_first[segment], segment_first[segment + 1]
        # bounds on what reading may need: all values, new and remembered
        room = blob_len[segment]
        for k in range(low, high):
            i = batches[k]
            for c in range(plain):
                if pieces[i, c, 0] >= 0:
                    room += pieces[i, c, 1]
            for g in range(len(group_first) - 1):
                c = group_first[g]
                if pieces[i, c, 0] >= 0:
                    at = pieces[i, c, 3] + 4 * pieces[i, c, 1]
                    entries = np.int64(data[at : at + 4].view(np.uint32)[0])
                    room += pieces[i, c, 1] + (group_first[g + 1] - c) * entries
        room = 16 * room + 64
        if room > len(T) or fixed_f + room > len(F) or fixed_c + room > len(C) or room > len(P):
            need[0] = 2 * room
            return FULL_POOLS
        top[TOP_T], top[TOP_F], top[TOP_C], top[TOP_P] = 0, fixed_f, fixed_c, 0
        top[NEXT_ID] = top[TIMELINES] = top[CADENCES] = 0
        memo[MEMO, 0] += 1
        memo[MEMO, 1] = 0
        union_new[0, 0] = union_full[0, 0] = 0
        known_at[:] = -1
        points_at = read_edges(
            blob, blob_at[segment], blob_len[segment], len(triggers), false_s, false_append_s
        )  # fmt: skip
        read_vehicle(
            data, pieces, batches, low, high, start_ns, frame_at, blob, points_at, blob_len[segment],
            forget_ns[segment], kinds, plain, group_first, source_tl, source_at, groups, field_at, listed_at, tl, cad,
            top, T, F, C, P,
        )  # fmt: skip
        # and on what the instructions may need: no list of instants is longer than all together
        longest = 1
        for j in range(top[TIMELINES]):
            longest += tl[j, TL_LEN]
        for g in range(len(group_first) - 1):
            longest = max(longest, groups[g, G_ENTRIES] + 1)
        wide = longest * (2 * len(union_first) + len(triggers) + 2)
        deep = longest * (4 * len(code) + 16)
        if (
            top[TOP_T] + wide > len(T)
            or top[TOP_F] + longest * len(floats) > len(F)
            or top[TOP_C] + longest * len(codes) > len(C)
            or top[TOP_P] + deep > len(P)
            or longest + 2 > S.shape[1]
        ):
            need[0] = 2 * (max(top[TOP_T], top[TOP_F], top[TOP_C], top[TOP_P]) + longest * (len(code) + 4) * 4)
            need[1] = 2 * longest + 2
            return FULL_POOLS
        first_start = start_ns[batches[low]]
        source_bounds[:, 3] = field_bounds[:, 3] = 0.0
        needed[:] = 0
        status = foresee(
            code, 0, main, constants, unions, union_first, union_new, union_full, source_tl, plain, source_at,
            source_bounds, tl, cad, groups, field_at, field_bounds, queries, float_bounds, code_bounds, T, F, C, page,
            top, parts, first_start,
        )  # fmt: skip
        if status > 0:
            need[0] = status
            return FULL_PAGE
        for trigger in range(len(triggers)):
            if code_bounds[triggers[trigger, 0]] != 0:
                want_code(triggers[trigger, 0], needed, code_made, code_bounds, codes, page)
        for pc in range(main - 1, -1, -1):
            if needed[pc] == 1:
                want(code, pc, needed, float_made, code_made, code_bounds, codes, page)
        execute(
            code, 0, main, needed, source_tl, plain, source_at, known_at, tl, groups, field_at, queries, floats, codes,
            T, F, C, P, S, page, memo, top,
        )  # fmt: skip
        for trigger in range(len(triggers)):
            query = queries[triggers[trigger, 1]]
            n = query[Q_LEN]
            one = code_bounds[triggers[trigger, 0]]
            if n == 0 or one == 1:
                continue
            if one == 0:
                if not always[trigger]:
                    t = T[query[Q_AT] + n - 1]
                    k = high - 1
                    while k > low and start_ns[batches[k]] > t:
                        k -= 1
                    false_s[trigger] = t // 1_000_000_000
                    false_append_s[trigger] = append_ms[batches[k]] // 1000
                continue
            at = codes[triggers[trigger, 0]]
            scratch = top[TOP_T]
            found = T[scratch : scratch + n]
            found_batch = P[top[TOP_P] : top[TOP_P] + n]
            number = onsets(
                C[at : at + n], T[query[Q_AT] : query[Q_AT] + n], always[trigger], fenced[trigger],
                interval_ns[trigger], from_ns[trigger], until_ns[trigger], memory_s, batches, low, high, start_ns,
                utc_ns, append_ms, false_s[trigger : trigger + 1],
                false_append_s[trigger : trigger + 1], found, found_batch,
            )  # fmt: skip
            if number == 0:
                continue
            if number > page:
                need[0] = number
                return FULL_PAGE
            top[TOP_T] += number
            names = named_first[trigger + 1] - named_first[trigger]
            values = evidence_first[trigger + 1] - evidence_first[trigger]
            if found_count + number > len(candidates):
                need[0] = 2 * (found_count + number)
                return FULL_CANDIDATES
            if detail_count + number * (names + values) > len(details):
                need[0] = 2 * (detail_count + number * (names + values))
                return FULL_DETAILS
            x = queries[0]
            x[Q_AT], x[Q_LEN], x[Q_SHIFT], x[Q_ID], x[Q_GROUP] = scratch, number, 0, top[NEXT_ID], -1
            x[Q_TIMELINE] = x[Q_CADENCE] = -1
            top[NEXT_ID] += 1
            for i in range(number):
                row = candidates[found_count + i]
                row[0], row[1], row[2], row[3] = segment, found_batch[i], trigger, found[i]
                row[4] = detail_count + i * (names + values)
            detail, detail_end = detail_first[trigger], detail_first[trigger + 1]
            status = foresee(
                code, detail, detail_end, constants, unions, union_first, union_new, union_full, source_tl, plain,
                source_at, source_bounds, tl, cad, groups, field_at, field_bounds, queries, float_bounds, code_bounds,
                T, F, C, page, top, parts, first_start,
            )  # fmt: skip
            if status > 0:
                need[0] = status
                return FULL_PAGE
            for v in range(names):
                want_code(named[named_first[trigger] + v], needed, code_made, code_bounds, codes, page)
            for v in range(values):
                is_code, register = evidence[evidence_first[trigger] + v]
                if is_code:
                    want_code(register, needed, code_made, code_bounds, codes, page)
                else:
                    needed[float_made[register]] = max(needed[float_made[register]], 1)
            for pc in range(detail_end - 1, detail - 1, -1):
                if needed[pc] == 1:
                    want(code, pc, needed, float_made, code_made, code_bounds, codes, page)
            for pc in range(main - 1, -1, -1):
                if needed[pc] == 1:
                    want(code, pc, needed, float_made, code_made, code_bounds, codes, page)
            execute(
                code, 0, main, needed, source_tl, plain, source_at, known_at, tl, groups, field_at, queries, floats,
                codes, T, F, C, P, S, page, memo, top,
            )  # fmt: skip
            execute(
                code, detail, detail_end, needed, source_tl, plain, source_at, known_at, tl, groups, field_at, queries,
                floats, codes, T, F, C, P, S, page, memo, top,
            )  # fmt: skip
            for i in range(number):
                to = detail_count + i * (names + values)
                for v in range(names):
                    details[to + v] = C[codes[named[named_first[trigger] + v]] + i]
                for v in range(values):
                    is_code, register = evidence[evidence_first[trigger] + v]
                    if is_code:
                        # a condition is reported as 0 and 1
                        c = C[codes[register] + i]
                        details[to + names + v] = np.nan if c == 1 else c / 2.0
                    else:
                        details[to + names + v] = F[floats[register] + i]
            found_count += number
            detail_count += number * (names + values)
        packed_at[segment + 1] = packed_at[segment]
        if not late[segment]:
            if packed_at[segment] + 9 * len(triggers) + 16 > len(packed):
                need[0] = 2 * len(packed) + 9 * len(triggers)
                return FULL_PACKED
            points = write_edges(false_s, false_append_s, len(triggers), packed, packed_at[segment])
            stop = pack(
                end_ns[segment], reach_ns, kinds, plain, group_first, source_tl, source_at, groups, listed_at, tl,
                top, T, F, C, P, packed, points,
            )  # fmt: skip
            if stop < 0:
                need[0] = 2 * len(packed)
                return stop
            packed_at[segment + 1] = stop
    counts[0], counts[1] = found_count, detail_count
    return 0

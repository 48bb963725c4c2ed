"""What has to be remembered of one vehicle, as bytes; see ``ingest`` for their layout."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.ingest import filled, upper_bound, write_numbers
from fleetloop.triggerlang.kernels.opcodes import Kind, bytes_of
from fleetloop.triggerlang.kernels.tables import FULL_PACKED, G_FIRST, G_IDS, G_LISTS, TIMELINES, TL_AT, TL_LEN, TOP_P


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
        if kind == Kind.BOOL:
            for i in range(n):
                out[cursor + i] = C[first + i]
            cursor += filled(n)
        else:
            write_numbers(F, first, n, kind, out, cursor)
            cursor += filled(n * bytes_of(kind))
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
            if kinds[column] == Kind.BOOL:
                for e in range(entries):
                    out[cursor + e] = C[listed_at[column] + begin + e]
                cursor += filled(entries)
            else:
                write_numbers(F, listed_at[column] + begin, entries, Kind.FLOAT64, out, cursor)
                cursor += 8 * entries
    return cursor

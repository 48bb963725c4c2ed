"""The way of one vehicle after the other through a program: read, bound, compute, decide, pack.

A vehicle's points stay in the processor's cache while all triggers look at them.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.deciding import onsets
from fleetloop.triggerlang.kernels.execution import execute, want, want_code
from fleetloop.triggerlang.kernels.foresight import foresee
from fleetloop.triggerlang.kernels.ingest import read_edges, write_edges
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN
from fleetloop.triggerlang.kernels.packing import pack
from fleetloop.triggerlang.kernels.points import read_vehicle
from fleetloop.triggerlang.kernels.tables import (
    CADENCES,
    FULL_CANDIDATES,
    FULL_DETAILS,
    FULL_PACKED,
    FULL_PAGE,
    FULL_POOLS,
    G_ENTRIES,
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
    TL_LEN,
    TOP_C,
    TOP_F,
    TOP_P,
    TOP_T,
)


@kernel
def run(
    data, pieces, start_ns, utc_ns, append_ms, frame_at,
    batches, segment_first, end_ns, forget_ns, late, blob, blob_at, blob_len,
    kinds, plain, group_first, reach_ns, code, main, float_made, code_made, unions, union_first, constants,
    triggers, detail_first, named_first, named, evidence_first, evidence,
    always, fenced, interval_ns, from_ns, until_ns, memory_s,
    false_s, false_append_s, queries, floats, codes, T, F, C, P, S, page, fixed_f, fixed_c, tl, cad, memo,
    union_new, union_full, parts, source_tl, source_at, known_at, groups, field_at, listed_at, top,
    source_bounds, field_bounds, float_bounds, code_bounds, needed, candidates, details, packed, packed_at,
    counts, need,
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
            if code_bounds[triggers[trigger, 0]] != FALSE:
                want_code(triggers[trigger, 0], needed, code_made, code_bounds, codes, page)
        for pc in range(main - 1, -1, -1):
            if needed[pc] == 1:
                want(code, pc, needed, float_made, code_made, code_bounds, codes, page)
        execute(
            code, 0, main, needed, source_tl, plain, source_at, known_at, tl, groups, field_at, queries, floats,
            codes,
            T, F, C, P, S, page, memo, top,
        )  # fmt: skip
        for trigger in range(len(triggers)):
            query = queries[triggers[trigger, 1]]
            n = query[Q_LEN]
            one = code_bounds[triggers[trigger, 0]]
            if n == 0 or one == UNKNOWN:
                continue
            if one == FALSE:
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
                code, detail, detail_end, needed, source_tl, plain, source_at, known_at, tl, groups, field_at,
                queries,
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
                        details[to + names + v] = np.nan if c == UNKNOWN else c / TRUE
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

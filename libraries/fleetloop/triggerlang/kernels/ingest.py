"""From bytes to one vehicle's points: what is remembered of it and what is new, source by source.

What a vehicle leaves behind is one run of bytes. First its edges, when each condition was last false (event second
and the broker's second): the number of different pairs as int32, the pairs as int32, and for each trigger which one
as uint8; with more than 255 pairs -1 and a pair for each trigger. Then its points: int32 words (stored timelines;
the length of each; per source the timeline, how many of its last instants, and for a group how many entries),
filled up to 8 bytes; the timelines' int64 instants; the plain signals' values in their own types; per group the
lists' lengths as int32, the int64 ids, and the fields as float64, or as codes for conditions. Each array begins at
a multiple of 8 bytes.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.opcodes import TRUE, Kind


@kernel
def filled(size):
    """The next multiple of 8."""
    return (size + 7) & ~7


@kernel
def read_numbers(data, at, n, kind, out, o):
    """n values of a kind (``opcodes.Kind``) as float64."""
    if kind == Kind.FLOAT32:
        f4 = data[at : at + 4 * n].view(np.float32)
        for i in range(n):
            out[o + i] = f4[i]
    elif kind == Kind.FLOAT64:
        f8 = data[at : at + 8 * n].view(np.float64)
        for i in range(n):
            out[o + i] = f8[i]
    elif kind == Kind.ENUM:
        u2 = data[at : at + 2 * n].view(np.uint16)
        for i in range(n):
            out[o + i] = u2[i]
    elif kind == Kind.INT32:
        i4 = data[at : at + 4 * n].view(np.int32)
        for i in range(n):
            out[o + i] = i4[i]
    elif kind == Kind.INT64:
        i8 = data[at : at + 8 * n].view(np.int64)
        for i in range(n):
            out[o + i] = i8[i]
    else:
        for i in range(n):
            out[o + i] = data[at + i]


@kernel
def read_codes(data, at, n, out, o):
    """n bools as truth values."""
    for i in range(n):
        out[o + i] = TRUE * data[at + i]


@kernel
def write_numbers(values, first, n, kind, out, at):
    """The reverse of ``read_numbers``."""
    if kind == Kind.FLOAT32:
        f4 = out[at : at + 4 * n].view(np.float32)
        for i in range(n):
            f4[i] = values[first + i]
    elif kind == Kind.ENUM:
        u2 = out[at : at + 2 * n].view(np.uint16)
        for i in range(n):
            u2[i] = np.uint16(values[first + i])
    elif kind == Kind.INT32:
        i4 = out[at : at + 4 * n].view(np.int32)
        for i in range(n):
            i4[i] = np.int32(values[first + i])
    elif kind == Kind.INT64:
        i8 = out[at : at + 8 * n].view(np.int64)
        for i in range(n):
            i8[i] = np.int64(values[first + i])
    else:
        f8 = out[at : at + 8 * n].view(np.float64)
        for i in range(n):
            f8[i] = values[first + i]


@kernel
def upper_bound(times, first, last, t):
    """The position after the last of times[first:last] that is at or before t."""
    while first < last:
        middle = (first + last) // 2
        if times[middle] <= t:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def sort_into_tracks(ids, list_first, lists, order, begins, owner, table):
    """Entries by track, each track's in the order of its lists; an id counts once a list, its last entry.

    ``ids`` are all lists' ids end to end, ``list_first`` (lists + 1,) where each list begins. Fills ``order``
    (the entries' places), ``owner`` (the list of each), ``begins`` (where each track begins, and the end);
    returns the number of tracks. ``table`` is scratch: 2 * slots + 2 * entries + 1, slots a power of two above
    2 * entries.
    """
    entries = list_first[lists]
    slots = 4
    while slots < 2 * entries:
        slots *= 2
    for i in range(slots):
        table[i] = -1
    track_of = 2 * slots
    counts = track_of + entries
    tracks = 0
    for e in range(entries):
        h = (ids[e] * np.int64(-7046029254386353131)) & (slots - 1)
        while table[h] >= 0 and table[slots + h] != ids[e]:
            h = (h + 1) & (slots - 1)
        if table[h] < 0:
            table[h] = tracks
            table[slots + h] = ids[e]
            table[counts + tracks] = 0
            tracks += 1
        table[track_of + e] = table[h]
        table[counts + table[h]] += 1
    at = 0
    for k in range(tracks):
        size = table[counts + k]
        table[counts + k] = at
        at += size
    # the counting sort leaves each track's end in its count
    for place in range(lists):
        for e in range(list_first[place], list_first[place + 1]):
            k = table[track_of + e]
            order[table[counts + k]] = e
            owner[table[counts + k]] = place
            table[counts + k] += 1
    kept = begin = 0
    for k in range(tracks):
        end = table[counts + k]
        begins[k] = kept
        for i in range(begin, end):
            if i + 1 < end and owner[i + 1] == owner[i]:
                continue
            order[kept], owner[kept] = order[i], owner[i]
            kept += 1
        begin = end
    begins[tracks] = kept
    return tracks


@kernel
def read_edges(blob, at, length, triggers, false_s, false_append_s):
    """Fills (triggers,) edges from what is remembered, -1 where nothing is; returns where the points begin."""
    if length == 0:
        for i in range(triggers):
            false_s[i] = false_append_s[i] = -1
        return at
    pairs = blob[at : at + 4].view(np.int32)[0]
    number = pairs if pairs >= 0 else triggers
    table = blob[at + 4 : at + 4 + 8 * number].view(np.int32)
    which = at + 4 + 8 * number
    for i in range(triggers):
        k = np.int64(blob[which + i]) if pairs >= 0 else i
        false_s[i], false_append_s[i] = table[2 * k], table[2 * k + 1]
    return at + filled(4 + 8 * number + (triggers if pairs >= 0 else 0))


@kernel
def write_edges(false_s, false_append_s, triggers, out, at):
    """The reverse of ``read_edges``; room for 4 + 9 * triggers bytes is needed. Returns where the points begin."""
    table = out[at + 4 : at + 4 + 8 * triggers].view(np.int32)
    pairs = 0
    for i in range(triggers):
        known = False
        for k in range(pairs):
            if table[2 * k] == false_s[i] and table[2 * k + 1] == false_append_s[i]:
                known = True
                break
        if not known:
            if pairs == 255:
                pairs = -1
                break
            table[2 * pairs], table[2 * pairs + 1] = false_s[i], false_append_s[i]
            pairs += 1
    out[at : at + 4].view(np.int32)[0] = pairs
    if pairs < 0:
        for i in range(triggers):
            table[2 * i], table[2 * i + 1] = false_s[i], false_append_s[i]
        return at + filled(4 + 8 * triggers)
    which = at + 4 + 8 * pairs
    for i in range(triggers):
        for k in range(pairs):
            if table[2 * k] == false_s[i] and table[2 * k + 1] == false_append_s[i]:
                out[which + i] = k
                break
    return at + filled(4 + 8 * pairs + triggers)

"""Sorts the entries of a track group's lists by track."""

from __future__ import annotations

from fleetloop.triggerlang.kernels import Ints, int64, kernel
from fleetloop.triggerlang.kernels.tables import HASH_FACTOR

SCRATCH_PER_ENTRY, SCRATCH = 10, 16
"""Room for ``table`` in ``sort_into_tracks``: slots are fewer than 4 * entries + 4."""


@kernel
def number_tracks(ids: Ints, entries: int, slots: int, table: Ints) -> int:
    """Numbers the different ids in the order of their first entries; returns how many there are.

    ``table`` is, end to end: the number in each slot of an open-addressing hash table (-1: free), the id in each
    slot, the number of each entry, and the count of each number.
    """
    for i in range(slots):
        table[i] = -1
    track_of = 2 * slots
    counts = track_of + entries
    tracks = 0
    for e in range(entries):
        # slots is a power of two, so `& (slots - 1)` is the remainder.
        h = (ids[e] * int64(HASH_FACTOR)) & (slots - 1)
        while table[h] >= 0 and table[slots + h] != ids[e]:
            h = (h + 1) & (slots - 1)
        if table[h] < 0:
            table[h] = tracks
            table[slots + h] = ids[e]
            table[counts + tracks] = 0
            tracks += 1
        table[track_of + e] = table[h]
        table[counts + table[h]] += 1
    return tracks


@kernel
def sort_into_tracks(
    ids: Ints, list_first: Ints, lists: int, order: Ints, begins: Ints, owner: Ints, table: Ints
) -> int:
    """Sorts entries by track, each track's in the order of its lists; an id counts once per list, by its last entry.

    Args:
        ids: All lists' ids, end to end.
        list_first: (lists + 1,) first entry of each list.
        lists: Number of lists.
        order: Filled with each sorted entry's position in ``ids``.
        begins: Filled with the first sorted entry of each track, and the end.
        owner: Filled with the list of each sorted entry.
        table: Scratch of SCRATCH_PER_ENTRY * entries + SCRATCH elements.

    Returns:
        The number of tracks.
    """
    entries = list_first[lists]
    slots = 4
    while slots < 2 * entries:
        slots *= 2
    tracks = number_tracks(ids, entries, slots, table)
    track_of = 2 * slots
    counts = track_of + entries
    # Counting sort: each count becomes the position of the track's next entry, and in the end the track's end.
    at = 0
    for k in range(tracks):
        size = table[counts + k]
        table[counts + k] = at
        at += size
    for i in range(lists):
        for e in range(list_first[i], list_first[i + 1]):
            k = table[track_of + e]
            order[table[counts + k]] = e
            owner[table[counts + k]] = i
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

"""Entries of lists are sorted by track."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.triggerlang.kernels.tracks import SCRATCH, SCRATCH_PER_ENTRY, sort_into_tracks

LISTS = st.lists(st.lists(st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1), max_size=5), max_size=6)


@settings(deadline=None)
@given(LISTS)
def test_each_track_has_its_entries_in_the_order_of_its_lists(lists: list[list[int]]) -> None:
    ids = np.array([i for each in lists for i in each], np.int64)
    first = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    n = len(ids)
    order, owner, begins = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n + 1, np.int64)
    table = np.zeros(SCRATCH_PER_ENTRY * n + SCRATCH, np.int64)
    count = sort_into_tracks(ids, first, len(lists), order, begins, owner, table)
    found = [
        [(int(owner[e]), int(order[e])) for e in range(begins[k], begins[k + 1])] for k in range(count)
    ]  # fmt: skip
    expected: dict[int, dict[int, int]] = {}
    for number, each in enumerate(lists):
        for e, track in enumerate(each):
            # The last entry of an id in a list counts.
            expected.setdefault(track, {})[number] = int(first[number]) + e
    assert found == [list(entries.items()) for entries in expected.values()]

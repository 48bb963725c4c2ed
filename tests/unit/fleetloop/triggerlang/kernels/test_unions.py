"""Unions of lists of instants."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.triggerlang.kernels.tables import (
    CAD_AT,
    CAD_ID,
    CAD_LEN,
    CAD_WIDTH,
    CADENCES,
    NEXT_ID,
    TOP_TIMES,
    TOPS,
)
from fleetloop.triggerlang.kernels.unions import add_member, merge, sort_members, union_of

LISTS = st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=8).map(sorted), min_size=1, max_size=4)


class Lists:
    """Some lists at the bottom of a pool, as cadences."""

    def __init__(self, lists: list[list[int]]) -> None:
        flat = [t for each in lists for t in each]
        self.times = np.concatenate([np.array(flat, np.int64), np.full(80, -1)])
        self.tops = np.zeros(TOPS, np.int64)
        self.tops[TOP_TIMES], self.tops[CADENCES], self.tops[NEXT_ID] = len(flat), len(lists), len(lists)
        self.table = np.zeros((len(lists) + 1, CAD_WIDTH), np.int64)
        firsts = np.cumsum([0, *map(len, lists)])
        for i, each in enumerate(lists):
            self.table[i, [CAD_AT, CAD_LEN, CAD_ID]] = firsts[i], len(each), i
        self.known = np.zeros((4, 8), np.int64)


@settings(deadline=None)
@given(LISTS)
def test_a_merge_has_every_instant_once(lists: list[list[int]]) -> None:
    pool = Lists(lists)
    top = int(pool.tops[TOP_TIMES])
    members = np.arange(len(lists))
    n = merge(pool.times, members, len(lists), pool.table, CAD_AT, CAD_LEN, top)
    assert pool.times[top : top + n].tolist() == sorted(set().union(*lists))
    assert pool.times[:top].tolist() == [t for each in lists for t in each]


def test_a_list_that_holds_all_others_is_their_union_and_is_remembered() -> None:
    pool = Lists([[2, 3], [1, 2, 3], [2]])
    result = union_of(np.array([2, 1, 0]), 3, pool.table, CAD_AT, CAD_LEN, pool.known, pool.times, pool.tops)
    assert result == (1, 3)
    again = union_of(np.array([0, 2, 1]), 3, pool.table, CAD_AT, CAD_LEN, pool.known, pool.times, pool.tops)
    assert again == (1, 0)


def test_lists_of_which_none_holds_all_make_a_new_one() -> None:
    pool = Lists([[2, 3], [1, 2]])
    result = union_of(np.array([0, 1]), 2, pool.table, CAD_AT, CAD_LEN, pool.known, pool.times, pool.tops)
    assert result == (-1, 3)
    assert union_of(np.array([1]), 1, pool.table, CAD_AT, CAD_LEN, pool.known, pool.times, pool.tops) == (1, 0)


def test_members_are_sorted_and_added_once() -> None:
    members = np.array([3, 1, 2, 9])
    sort_members(members, 3)
    assert members.tolist() == [1, 2, 3, 9]
    assert add_member(members, 3, 2) == 3
    assert add_member(members, 3, 7) == 4
    assert members.tolist() == [1, 2, 3, 7]

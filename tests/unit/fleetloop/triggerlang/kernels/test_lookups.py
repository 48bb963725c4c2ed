"""Where a query's instants lie among a timeline's."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints
from fleetloop.triggerlang.kernels.lookups import (
    find_memo,
    own_position,
    positions_in_tracks,
    search_timeline,
    timeline_covers,
    value_covers,
    write_memo,
)
from fleetloop.triggerlang.kernels.tables import (
    G_BEGINS,
    G_ENTRIES,
    G_TIMES,
    G_TRACKS,
    G_WIDTH,
    MEMO_AT,
    MEMO_GENERATION,
    MEMO_SLOTS,
    MEMO_WIDTH,
    Q_AT,
    Q_CADENCE,
    Q_GROUP,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    Q_WIDTH,
    TL_AT,
    TL_CADENCE,
    TL_GAP,
    TL_LEN,
    TL_NEW,
    TL_WIDTH,
)


def query(at: int, length: int, timeline: int = -1, cadence: int = -1, shift: int = 0) -> Ints:
    row = np.zeros(Q_WIDTH, np.int64)
    row[[Q_AT, Q_LEN, Q_TIMELINE, Q_CADENCE, Q_SHIFT, Q_GROUP]] = at, length, timeline, cadence, shift, -1
    return row


def timelines(cadence: int = 3) -> Ints:
    table = np.zeros((1, TL_WIDTH), np.int64)
    table[0, [TL_AT, TL_LEN, TL_NEW, TL_CADENCE, TL_GAP]] = 0, 3, 2, cadence, -1
    return table


TIMES = np.array([0, 4, 8, 1, 9, 13])


def test_a_query_that_is_part_of_a_timeline_has_its_positions() -> None:
    assert own_position(0, timelines(), query(0, 3, timeline=0)) == 0
    assert own_position(0, timelines(), query(2, 1, cadence=3)) == 2
    assert own_position(0, timelines(), query(2, 1, cadence=4)) == -1
    assert own_position(0, timelines(cadence=-1), query(2, 1)) == -1


def test_instants_are_covered_by_points_that_are_not_too_old() -> None:
    table = timelines()
    assert timeline_covers(0, query(3, 2), 5, table, TIMES)
    assert table[0, TL_GAP] == 4
    assert not timeline_covers(0, query(3, 2), 4, table, TIMES)
    assert not timeline_covers(0, query(3, 3), 5, table, TIMES)
    assert timeline_covers(0, query(3, 0), 5, table, TIMES)
    assert not timeline_covers(-1, query(3, 2), 5, table, TIMES)


def test_a_signal_has_a_value_at_its_own_instants_however_short_its_span() -> None:
    assert value_covers(0, query(0, 3, timeline=0), 1, timelines(), TIMES)
    assert not value_covers(0, query(0, 3, timeline=0, shift=1), 1, timelines(), TIMES)


def test_the_memo_finds_what_was_written_for_this_vehicle() -> None:
    memo = np.zeros((MEMO_SLOTS + 1, MEMO_WIDTH), np.int64)
    memo[MEMO_SLOTS, MEMO_GENERATION] = 1
    for key in range(1500):
        h = find_memo(memo, key % 7, key // 7, 1000 * key)
        assert memo[h, MEMO_GENERATION] == 0
        write_memo(memo, h, key % 7, key // 7, 1000 * key, key)
    for key in range(1500):
        h = find_memo(memo, key % 7, key // 7, 1000 * key)
        assert memo[h, [MEMO_GENERATION, MEMO_AT]].tolist() == [1, key]
    memo[MEMO_SLOTS, MEMO_GENERATION] = 2
    assert memo[find_memo(memo, 1, 1, 8000), MEMO_GENERATION] != 2


def test_the_memo_never_gets_full() -> None:
    memo = np.zeros((MEMO_SLOTS + 1, MEMO_WIDTH), np.int64)
    memo[MEMO_SLOTS, MEMO_GENERATION] = 1
    for key in range(MEMO_SLOTS):
        write_memo(memo, find_memo(memo, key, 0, 0), key, 0, 0, key)
    assert (memo[:MEMO_SLOTS, MEMO_GENERATION] == 1).sum() == MEMO_SLOTS // 2


def test_entries_of_tracks_are_searched_track_by_track_in_a_timeline() -> None:
    groups, out = np.zeros((2, G_WIDTH), np.int64), np.zeros(4, np.int64)
    groups[:, G_TRACKS], groups[:, G_BEGINS] = 2, 0
    instants, positions = np.array([10, 30, 10, 20]), np.array([0, 2, 4])
    for g in (0, 1):
        search_timeline(np.array([10, 20, 30]), instants, 0, g, groups, positions, out)
        assert out.tolist() == [1, 3, 1, 2]
    search_timeline(np.array([10, 20, 30]), instants[:2], 5, -1, groups, positions, out)
    assert out[:2].tolist() == [0, 2]


def test_each_track_is_searched_among_its_own_entries() -> None:
    group = np.zeros(G_WIDTH, np.int64)
    group[[G_TIMES, G_ENTRIES, G_BEGINS, G_TRACKS]] = 1, 5, 0, 2
    times, positions, out = np.array([-1, 10, 20, 30, 10, 30]), np.array([0, 3, 5]), np.zeros(5, np.int64)
    positions_in_tracks(group, 10, times, positions, out)
    assert out.tolist() == [0, 1, 2, 3, 4]

"""Lists of instants: repeats are dropped, and equal ones are shared."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels.tables import (
    CAD_AT,
    CAD_LEN,
    CAD_WIDTH,
    PIECE_OFFSETS,
    PIECE_VALUES,
    PIECE_WIDTH,
    TL_AT,
    TL_CADENCE,
    TL_KEEP,
    TL_LEN,
    TL_NEW,
    TL_WIDTH,
    TOP_TIMES,
    TOPS,
)
from fleetloop.triggerlang.kernels.timelines import add_timeline, drop_repeats, has_repeats, same_instants


def test_of_several_points_at_one_instant_the_last_stays() -> None:
    times, positions = np.array([1, 1, 2, 3, 3, 3]), np.zeros(6, np.int64)
    assert has_repeats(times, 0, 6)
    assert not has_repeats(times, 1, 3)
    assert drop_repeats(times, 0, 6, 3, positions, 0) == (3, 2)
    assert times[:3].tolist() == [1, 2, 3]
    assert positions[:3].tolist() == [1, 2, 5]
    assert drop_repeats(np.array([1, 1, 2, 3]), 0, 4, 2, positions, 0) == (3, 1)
    only_old = np.array([4, 4])
    assert drop_repeats(only_old, 0, 2, 2, positions, 0) == (1, 1)


def test_columns_share_instants_when_they_do_in_every_batch() -> None:
    pieces = np.zeros((3, 3, PIECE_WIDTH), np.int64)
    pieces[:, :, PIECE_OFFSETS] = -1
    batches = np.array([0, 2])
    assert same_instants(pieces, batches, 0, 2, 0, 1)
    pieces[2, 1, PIECE_OFFSETS] = 8
    assert not same_instants(pieces, batches, 0, 2, 0, 1)
    pieces[2, 2, PIECE_VALUES] = -1
    assert not same_instants(pieces, batches, 0, 2, 0, 2)
    assert same_instants(pieces, batches, 0, 1, 0, 2)


def test_a_timeline_has_what_is_remembered_and_a_cadence_only_what_is_new() -> None:
    times, tops = np.array([0, 5, 6, 7, 0]), np.zeros(TOPS, np.int64)
    tops[TOP_TIMES] = 1
    timelines, cadences = np.zeros((2, TL_WIDTH), np.int64), np.zeros((2, CAD_WIDTH), np.int64)
    j = add_timeline(0, -1, 0, 1, 3, times, np.zeros(4, np.int64), timelines, cadences, tops)
    assert timelines[j, [TL_AT, TL_LEN, TL_NEW, TL_KEEP, TL_CADENCE]].tolist() == [1, 3, 1, -1, 0]
    assert cadences[0, [CAD_AT, CAD_LEN]].tolist() == [2, 2]
    assert tops[TOP_TIMES] == 4
    k = add_timeline(1, 0, -1, 0, 1, times, np.zeros(4, np.int64), timelines, cadences, tops)
    assert timelines[k, TL_CADENCE] == 0

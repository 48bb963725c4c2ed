"""Ranges of windows and of conditions on tracks."""

from __future__ import annotations

import numpy as np
import pytest

from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Op
from fleetloop.triggerlang.kernels.tables import (
    ALWAYS_KNOWN,
    I_OP,
    INSTRUCTION_WIDTH,
    NEVER_KNOWN,
    PERHAPS_KNOWN,
    VARIES,
)
from fleetloop.triggerlang.kernels.value_ranges import track_condition_range, window_range


def row(op: Op) -> np.ndarray:
    """An instruction from register 0 to register 0."""
    instruction = np.zeros(INSTRUCTION_WIDTH, np.int64)
    instruction[I_OP] = op
    return instruction


@pytest.mark.parametrize(
    ("op", "covers", "expected"),
    [
        (Op.MIN, True, [2, 4, ALWAYS_KNOWN]),
        (Op.FIRST, False, [2, 4, PERHAPS_KNOWN]),
        (Op.SLOPE, True, [-np.inf, np.inf, PERHAPS_KNOWN]),
    ],
)
def test_a_window_over_numbers_stays_within_their_range(op: Op, covers: bool, expected: list[float]) -> None:
    ranges = np.array([[2.0, 4.0, ALWAYS_KNOWN]])
    window_range(row(op), covers, 9, ranges, np.zeros(1, np.int64))
    assert ranges[0].tolist() == expected


def test_a_mean_may_leave_the_range_by_its_rounding() -> None:
    ranges = np.array([[2.0, 4.0, ALWAYS_KNOWN]])
    window_range(row(Op.MEAN), True, 9, ranges, np.zeros(1, np.int64))
    assert 1.99 < ranges[0, 0] < 2
    assert 4 < ranges[0, 1] < 4.01


def test_a_window_over_what_is_never_known_is_never_known() -> None:
    ranges = np.array([[-np.inf, np.inf, NEVER_KNOWN]])
    window_range(row(Op.MAX), False, 0, ranges, np.zeros(1, np.int64))
    assert ranges[0, 2] == NEVER_KNOWN


@pytest.mark.parametrize(
    ("inner", "covers", "expected"),
    [
        (TRUE, True, TRUE),
        (TRUE, False, VARIES),
        (UNKNOWN, False, UNKNOWN),
        (FALSE, True, FALSE),
        (VARIES, True, VARIES),
    ],
)
def test_a_window_over_one_truth_value_has_it_where_it_has_points(inner: int, covers: bool, expected: int) -> None:
    truths = np.array([inner])
    window_range(row(Op.ANY), covers, 9, np.zeros((1, 3)), truths)
    assert truths[0] == expected


@pytest.mark.parametrize(("inner", "most"), [(TRUE, 9), (VARIES, 9), (FALSE, 0), (UNKNOWN, 0)])
def test_a_count_is_at_most_the_number_of_points(inner: int, most: int) -> None:
    ranges = np.zeros((1, 3))
    window_range(row(Op.COUNT), True, 9, ranges, np.array([inner]))
    assert ranges[0].tolist() == [0, most, ALWAYS_KNOWN]


@pytest.mark.parametrize(
    ("j", "entries", "covers", "truth", "expected"),
    [
        (-1, 0, False, VARIES, UNKNOWN),
        (0, 0, True, VARIES, FALSE),
        (0, 5, True, FALSE, FALSE),
        (0, 5, False, FALSE, VARIES),
        (0, 5, True, TRUE, VARIES),
    ],
)
def test_no_track_can_be_what_none_is(j: int, entries: int, covers: bool, truth: int, expected: int) -> None:
    truths, ranges = np.array([truth]), np.zeros((1, 3))
    track_condition_range(row(Op.COUNT_TRACKS), j, entries, covers, ranges, truths)
    never = truth == FALSE or entries == 0
    assert ranges[0, 1] == (0 if never else entries)
    assert ranges[0, 2] == (NEVER_KNOWN if j < 0 else ALWAYS_KNOWN if covers else PERHAPS_KNOWN)
    track_condition_range(row(Op.ANY_TRACK), j, entries, covers, ranges, truths)
    assert truths[0] == expected

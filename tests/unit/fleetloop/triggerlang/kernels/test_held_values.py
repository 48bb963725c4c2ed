"""A value is held until the next one, or until it is too old."""

from __future__ import annotations

import numpy as np
from tests.unit.fleetloop.triggerlang.evaluation import FALSE, NAN, TRUE, UNKNOWN, flags, numbers, tracks, truths

from fleetloop.triggerlang.kernels.held_values import hold, hold_known

TIMES, VALUES = np.array([10, 20, 30]), np.array([1.0, NAN, 3.0])
AFTER, INSTANTS = np.array([0, 1, 2, 2, 3, 3]), np.array([5, 15, 20, 29, 30, 41])


def test_the_last_value_at_or_before_each_instant_is_held_for_its_span() -> None:
    out = np.zeros(6)
    hold(VALUES, TIMES, AFTER, INSTANTS, 0, 10, NAN, out)
    np.testing.assert_array_equal(out, [NAN, 1, NAN, NAN, 3, NAN])
    hold(VALUES, TIMES, AFTER, INSTANTS + 7, 7, 11, NAN, out)
    np.testing.assert_array_equal(out, [NAN, 1, NAN, NAN, 3, 3])


def test_the_last_known_value_passes_over_nan() -> None:
    out, before = np.zeros(6), np.array([0, 0, 2])
    hold_known(VALUES, TIMES, AFTER, before, INSTANTS, 0, 15, out)
    np.testing.assert_array_equal(out, [NAN, 1, 1, NAN, 3, 3])


def test_a_signal_with_other_instants_is_held_at_those_of_the_condition() -> None:
    half_second = numbers(5, 0, offsets_ns=[0, 500_000_000])
    assert truths("X > 1 and F", {"X": half_second, "F": flags(*[True] * 8)}) == [TRUE] * 5 + [FALSE] * 3
    late = numbers(5, offsets_ns=[300_000_000])
    assert truths("X > 1 and F", {"X": late, "F": flags(*[True] * 5)}) == [UNKNOWN] * 3 + [TRUE] * 2


def test_a_condition_is_held_too_and_unknown_when_too_old() -> None:
    columns = {"F": flags(True), "X": numbers(*[0] * 13)}
    assert truths("F and X < 1", columns) == [TRUE] * 11 + [UNKNOWN] * 2


def test_what_was_never_sent_is_unknown() -> None:
    assert truths("F or Y > 1", {"F": flags(False, True)}) == [UNKNOWN, TRUE]
    assert truths("last(X, 1 s) > 1 or F", {"F": flags(False)}) == [UNKNOWN]


def test_a_track_that_was_not_there_has_no_earlier_value() -> None:
    lists = [{1: (5.0, True)}, {1: (6.0, True), 2: (9.0, True)}, {2: (9.5, False)}]
    columns = tracks(*lists)
    assert truths("any_track(T, delta(Score, 0.1 s) > 0.7)", columns) == [UNKNOWN, TRUE, FALSE]
    assert truths("any_track(T, lag(Seen, 0.1 s) and not Seen)", columns) == [FALSE, FALSE, TRUE]


def test_a_condition_on_tracks_is_that_of_the_newest_list() -> None:
    columns = {**tracks({1: (5, True)}, {}, {1: (5, False), 2: (5, True)}), "F": flags(*[False] * 15)}
    once = [TRUE, FALSE] + [TRUE] * 11 + [UNKNOWN] * 2
    assert truths("any_track(T, Seen) or F", columns) == once
    assert truths("count_tracks(T, Score > 1) > 1.5 or F", columns) == [FALSE] * 2 + [TRUE] * 11 + [UNKNOWN] * 2


def test_a_field_that_a_batch_lacks_is_unknown() -> None:
    columns = tracks({1: (5, True)}, {1: (0, True)}, seen=False)
    assert truths("any_track(T, Seen or Score > 1)", columns) == [TRUE, UNKNOWN]

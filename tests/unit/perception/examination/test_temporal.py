"""Flicker, late decisions and decisions that stop being right are each counted as what they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.examination.temporal import (
    LEAST_PICTURES,
    Right,
    examine_sequences,
    flicker,
    lost,
    sequences_in,
    time_to_decide,
)

ERROR = 0.01


def right(text: str) -> Right:
    """One picture per letter: x is right, a dot is wrong."""
    return np.array([letter == "x" for letter in text])


@pytest.mark.parametrize(
    ("text", "flickers", "time", "losses"),
    [
        ("xxxx", 0, 0, 0), ("..xx", 0, 2, 0), ("....", 0, 4, 0), ("x.x.", 3, 0, 2), (".x.x", 2, 1, 1),
        ("xx..", 1, 0, 2), (".x..", 1, 1, 2),
    ],
)  # fmt: skip
def test_each_measure_has_its_value(text: str, flickers: int, time: int, losses: int) -> None:
    assert (flicker(right(text)), time_to_decide(right(text)), lost(right(text))) == (flickers, time, losses)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_a_sequence_that_is_always_right_is_the_best_there_is(values: list[bool]) -> None:
    some = np.array(values)
    assert min(flicker(some), time_to_decide(some), lost(some)) >= 0
    assert (flicker(some) == time_to_decide(some) == lost(some) == 0) == all(values)


def test_a_sequence_ends_where_the_street_or_the_truth_changes() -> None:
    where = ["a"] * 6 + ["b"] * 5
    actual = np.array([np.nan, 0, 0, 0, 1, 1, 1, 1, 1, np.nan, np.nan])
    decided = np.array([1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1], np.bool_)
    found = sequences_in(where, actual, decided)
    assert [each.tolist() for each in found] == [[True, False, True], [True, False, True]]
    assert sequences_in([], np.array([]), np.array([], np.bool_)) == []


@given(st.lists(st.sampled_from([0.0, 1.0, np.nan]), max_size=40), st.integers(1, 5))
def test_no_picture_is_in_two_sequences_and_none_is_unknown(actual: list[float], streets: int) -> None:
    where = [str(number // streets) for number in range(len(actual))]
    found = sequences_in(where, np.array(actual), np.ones(len(actual), np.bool_))
    assert all(len(each) >= LEAST_PICTURES for each in found)
    assert sum(map(len, found)) <= sum(not np.isnan(each) for each in actual)


def test_a_candidate_that_flickers_is_refused_although_it_is_right_as_often() -> None:
    steady, nervous = [right("...xxx")] * 40, [right("x.x.x.")] * 40
    assert np.mean(steady) == np.mean(nervous)
    verdict = examine_sequences({"sign": steady}, {"sign": nervous}, ERROR)
    assert not verdict.passed and verdict.reasons[0].startswith("sign flickers more: worse in 40 of 40")
    assert examine_sequences({"sign": steady}, {"sign": steady}, ERROR).passed


def test_a_candidate_that_is_late_is_refused() -> None:
    verdict = examine_sequences({"sign": [right("xxxx")] * 40}, {"sign": [right("..xx")] * 40}, ERROR)
    assert not verdict.passed and "sign is right later" in verdict.reasons[0]


def test_a_model_that_is_never_right_is_not_better_for_being_steady() -> None:
    blind, learning = [right("......")] * 40, [right("..x.xx")] * 40
    assert examine_sequences({"sign": blind}, {"sign": learning}, ERROR).passed
    verdict = examine_sequences({"sign": learning}, {"sign": blind}, ERROR)
    assert not verdict.passed and verdict.reasons[0].startswith("sign is right later")


def test_too_few_sequences_are_not_passed() -> None:
    few: list[dict[str, list[Right]]] = [{}, {"sign": []}, {"sign": [right("xxx")] * 5}]
    for some in few:
        verdict = examine_sequences(some, some, ERROR)
        assert not verdict.passed and verdict.reasons[0].startswith("Nothing to examine")

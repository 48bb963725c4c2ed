"""Windows over a vehicle's points and over each track's own, through the whole program."""

from __future__ import annotations

import pytest
from tests.unit.fleetloop.triggerlang.evaluation import FALSE, NAN, TRUE, UNKNOWN, flags, numbers, tracks, truths

X = {"X": numbers(1, 5, NAN, 2, 2, 2)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("min(X, 0.25 s) < 1.5", [TRUE, TRUE, TRUE, FALSE, FALSE, FALSE]),
        ("max(X, 0.25 s) > 4", [FALSE, TRUE, TRUE, TRUE, FALSE, FALSE]),
        ("mean(X, 0.25 s) > 2.5", [FALSE, TRUE, TRUE, TRUE, FALSE, FALSE]),
        ("first(X, 0.25 s) > 4", [FALSE, FALSE, FALSE, TRUE, FALSE, FALSE]),
        ("slope(X, 0.5 s) > 0 Hz", [UNKNOWN, UNKNOWN, UNKNOWN, TRUE, FALSE, FALSE]),
        ("any(X > 4, 0.25 s)", [FALSE, TRUE, TRUE, TRUE, UNKNOWN, FALSE]),
        ("all(X > 1.5, 0.25 s)", [FALSE, FALSE, FALSE, UNKNOWN, UNKNOWN, TRUE]),
        ("count(X > 1.5, 0.25 s) > 1.5", [FALSE, FALSE, FALSE, TRUE, TRUE, TRUE]),
    ],
)
def test_a_window_ends_at_each_instant(expression: str, expected: list[int]) -> None:
    assert truths(expression, X) == expected


def test_a_window_at_another_signals_instants_is_over_its_own_points() -> None:
    sparse = {"X": numbers(5, 1, offsets_ns=[0, 300_000_000]), "F": flags(*[True] * 7)}
    expected = [TRUE] * 3 + [FALSE] * 3 + [UNKNOWN]
    assert truths("max(X, 0.3 s) > 4 and F", sparse) == expected


def test_a_window_over_a_track_has_no_other_tracks_points() -> None:
    lists = [{1: (9.0, True), 2: (1.0, False)}, {1: (9.0, True), 2: (1.0, False)}, {2: (2.0, True)}]
    assert truths("any_track(T, max(Score, 1 s) > 5)", tracks(*lists)) == [TRUE, TRUE, FALSE]
    assert truths("any_track(T, all(Seen, 1 s))", tracks(*lists)) == [TRUE, TRUE, FALSE]
    assert truths("any_track(T, count(not Seen, 1 s) > 1.5)", tracks(*lists)) == [FALSE, TRUE, TRUE]


def test_a_window_over_what_was_never_sent_is_unknown() -> None:
    assert truths("max(X, 1 s) > 1 or F", {"F": flags(False, True)}) == [UNKNOWN, TRUE]
    assert truths("any(Y > 1, 1 s) or F", {"F": flags(False, True)}) == [UNKNOWN, TRUE]

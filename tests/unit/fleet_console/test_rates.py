"""Rates are what a counter gained between two looks, and nothing where one look saw nothing."""

from __future__ import annotations

import pytest

from fleet_console.model import Counts, Facts
from fleet_console.rates import counts_of, rate, rate_text

S = 10**9


def test_a_rate_is_the_gain_over_the_time() -> None:
    assert rate(Counts(0, frames=100), Counts(4 * S, frames=500), "frames") == 100.0


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (None, Counts(S, frames=5)),
        (Counts(S, frames=5), Counts(S, frames=9)),
        (Counts(0, frames=9), Counts(S, frames=5)),
        (Counts(0), Counts(S, frames=5)),
        (Counts(0, frames=5), Counts(S)),
    ],
)
def test_no_rate_from_one_look_a_counter_begun_anew_or_a_service_away(earlier: Counts | None, later: Counts) -> None:
    assert rate(earlier, later, "frames") is None


def test_a_service_that_is_away_counts_nothing() -> None:
    counts = counts_of(Facts(away={"telemetry_archiver": "gone"}), 7)
    assert (counts.frames, counts.fired, counts.clips, counts.labels) == (None, 0, 0, 0)


def test_rare_things_are_told_by_the_minute() -> None:
    told = [rate_text(per_s, "labels") for per_s in (None, 0.0, 0.05, 0.5, 1234.5)]
    assert told == ["measuring", "0 labels/min", "3.0 labels/min", "30 labels/min", "1,234 labels/s"]

"""Evidence is a valid e-process, close to Wald's bound, and no few vehicles can make it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleetloop.domain.sequential import (
    BET,
    Drove,
    compare_decisions,
    compare_rates,
    event_weight,
    km_needed,
    needed,
    sum_of,
    tolerated_of,
    wald_km,
)

drives = st.builds(Drove, st.booleans(), st.floats(0, 100), st.integers(0, 20))
stretches = st.lists(st.lists(drives, min_size=6, max_size=6), min_size=1, max_size=4)


def total(stretches: Sequence[Sequence[Drove]], ratio: float, tolerated: int) -> tuple[float, float]:
    """Evidence against and in favour, over all stretches; the n-th entry of each is the same vehicle."""
    scores = [compare_rates(each, ratio, tolerated) for each in stretches]
    against = [sum(each[n].against for each in scores) for n in range(len(stretches[0]))]
    in_favour = [sum(each[n].in_favour for each in scores) for n in range(len(stretches[0]))]
    return sum_of(against, tolerated), sum_of(in_favour, tolerated)


def test_the_evidence_is_that_of_a_published_implementation() -> None:
    """savvi 0.3.1, `Multinomial`: its odds for a Dirichlet prior are the mean of ours over the prior's shares.

    Multinomial(0.05, np.array([0.3, 0.7]), k=5), update(np.array([9, 6])): odds 3.910799.
    """
    km, other_km, events, other_events, k = 3.0, 7.0, 9, 6, 5.0
    shares = (np.arange(20_000) + 0.5) / 20_000
    prior = shares ** (0.3 * k - 1) * (1 - shares) ** (0.7 * k - 1)
    mean = 0.0
    for share, weight in zip(shares, prior / prior.sum(), strict=True):
        ratio = share / (1 - share) * other_km / km
        other = event_weight(km, other_km, ratio)
        mean += weight * math.exp(events * (other + math.log(ratio)) + other_events * other)
    assert mean == pytest.approx(SAVVI_ODDS, rel=1e-5)


SAVVI_ODDS = 3.910799470298194


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1.1, 5))
def test_under_equal_rates_the_expected_factor_of_an_event_is_one(km: float, other_km: float, ratio: float) -> None:
    share = km / (km + other_km)
    other = event_weight(km, other_km, ratio)
    assert share * math.exp(other + math.log(ratio)) + (1 - share) * math.exp(other) == pytest.approx(1)
    worse = ratio * km / (ratio * km + other_km)  # and one against the candidate, when it is worse
    assert worse * math.exp(-other - math.log(ratio)) + (1 - worse) * math.exp(-other) == pytest.approx(1)


@given(stretches, st.floats(1.1, 4), st.integers(0, 2))
def test_what_remains_without_some_vehicles_is_no_less(
    stretches: list[list[Drove]], ratio: float, tolerated: int
) -> None:
    """It is a lower bound of the evidence of the honest vehicles, whichever the others are and whatever they say."""
    sides = [each[0].candidate for each in zip(*stretches, strict=True)]  # a vehicle stays on its side
    stretches = [
        [Drove(side, each.km, each.events if each.km else 0) for side, each in zip(sides, stretch, strict=True)]
        for stretch in stretches
    ]
    against, in_favour = total(stretches, ratio, tolerated)
    for liars in itertools.combinations(range(6), tolerated):
        honest = [[each for n, each in enumerate(stretch) if n not in liars] for stretch in stretches]
        exact_against, exact_in_favour = total(honest, ratio, 0)
        assert exact_against >= against - 1e-9
        assert exact_in_favour >= in_favour - 1e-9


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 200), st.floats(0.01, 0.5))
def test_evidence_on_decisions_is_a_bet_on_each(better: int, worse: int, equal: int, margin: float) -> None:
    score = compare_decisions(better, worse, equal, margin)
    capital_against = (1 + BET) ** worse * (1 - BET) ** better
    capital = (1 + BET * (margin - 1)) ** worse * (1 + BET * (margin + 1)) ** better * (1 + BET * margin) ** equal
    assert math.exp(score.against) == pytest.approx(capital_against, rel=1e-6)
    assert math.exp(score.in_favour) == pytest.approx(capital, rel=1e-6)


@given(st.floats(0, 0.4), st.floats(0.01, 0.5))
def test_a_bet_has_no_gain_while_its_null_hypothesis_holds(differ: float, margin: float) -> None:
    better = worse = differ
    gain = better * (1 - BET) + worse * (1 + BET) + (1 - better - worse)
    assert gain == pytest.approx(1)
    worse = min(1 - better, better + margin)
    assume(worse - better >= margin - 1e-12)
    up = (
        better * (1 + BET * (margin + 1))
        + worse * (1 + BET * (margin - 1))
        + (1 - better - worse) * (1 + BET * margin)
    )
    assert up <= 1 + 1e-9


@pytest.mark.parametrize(("rate_per_km", "share"), [(0.35, 0.25), (0.05, 0.25), (0.35, 0.05)])
def test_nine_of_ten_comparisons_are_decided_within_the_distance_that_was_stated(
    rate_per_km: float, share: float
) -> None:
    ratio, error, rng = 2.0, 0.05, np.random.default_rng(1)
    km = km_needed(rate_per_km, share, ratio, error)
    other = event_weight(share, 1 - share, ratio)
    runs, steps = 4_000, 200
    own = rng.poisson(rate_per_km * km / steps, (runs, steps))
    others = rng.poisson(rate_per_km * km / steps * (1 - share) / share, (runs, steps))
    in_favour = -np.cumsum(own * (other + math.log(ratio)) + others * other, axis=1)
    decided = (in_favour.max(axis=1) >= needed(error)).mean()
    assert 0.87 <= decided <= 1
    assert km > wald_km(rate_per_km, share, ratio, error)


def test_without_events_no_distance_is_enough() -> None:
    assert km_needed(0.0, 0.25, 2.0, 0.05) == math.inf
    assert wald_km(0.0, 0.25, 2.0, 0.05) == math.inf


def test_three_percent_of_a_small_fleet_is_no_vehicle() -> None:
    assert [tolerated_of(vehicles, 0.03) for vehicles in (1, 33, 34, 100, 1000)] == [0, 0, 1, 3, 30]

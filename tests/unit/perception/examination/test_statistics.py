"""The tests behind the gates keep their error, and have the right values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.examination.statistics import decidable_with, holm, p_first_is_better, p_loss_is_small

ERROR = 0.05


@given(st.integers(1, 300))
def test_what_is_decidable_could_be_lost_significantly(comparisons: int) -> None:
    scenes = decidable_with(comparisons, ERROR)
    lost = p_first_is_better(np.ones(scenes), np.zeros(scenes))
    assert lost <= ERROR / comparisons
    assert p_first_is_better(np.ones(scenes - 1), np.zeros(scenes - 1)) > ERROR / comparisons


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_p_value_is_the_tail_of_fair_coins(gained: int, lost: int) -> None:
    first = np.r_[np.ones(gained), np.zeros(lost), 1, 0]
    second = np.r_[np.zeros(gained), np.ones(lost), 1, 0]
    total = gained + lost
    exact = sum(math.comb(total, k) for k in range(gained, total + 1)) / 2**total
    assert p_first_is_better(first, second) == pytest.approx(exact)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_rejects_at_least_what_bonferroni_does(p_values: list[float]) -> None:
    numbered = dict(enumerate(p_values))
    rejected = set(holm(numbered, ERROR))
    assert {n for n, p in numbered.items() if p <= ERROR / len(p_values)} <= rejected
    assert all(p_values[n] <= ERROR for n in rejected)
    assert not rejected or max(p_values[n] for n in rejected) <= min(
        [p_values[n] for n in numbered if n not in rejected] or [1]
    )


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.2])
def test_a_loss_as_large_as_the_margin_is_seldom_called_larger(margin: float) -> None:
    rng, called = np.random.default_rng(3), 0
    for _ in range(2000):
        before = rng.random(200) < 0.7
        # Of those that were right, as many become wrong as the margin says, beside an exchange of 10 % both ways.
        lost = before & (rng.random(200) < 0.1 + margin / 0.7)
        gained = ~before & (rng.random(200) < 0.1 * 0.7 / 0.3)
        now = (before & ~lost) | gained
        called += p_loss_is_small(before.astype(float), now.astype(float), margin) < ERROR
    assert called / 2000 < 0.065


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 0.3), st.floats(0, 0.3))
def test_a_larger_margin_never_makes_a_loss_more_certain(lost: int, gained: int, one: float, two: float) -> None:
    before = np.r_[np.ones(lost), np.zeros(gained), np.ones(20)]
    now = np.r_[np.zeros(lost), np.ones(gained), np.ones(20)]
    assert p_loss_is_small(before, now, max(one, two)) >= p_loss_is_small(before, now, min(one, two))


def test_a_loss_of_everything_is_certain() -> None:
    assert p_loss_is_small(np.ones(100), np.zeros(100), 0.05) < 1e-12
    assert p_loss_is_small(np.ones(100), np.ones(100), 0.05) > 0.9

"""Probabilities that are wrong refuse a model whose answers are as right as before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.perception.nets import SCHEMA, red_squares

from perception.examination.calibration import LEAST, Stated, calibration_error, examine_calibration, stated
from perception.examination.plan import Calibration

PLAN = Calibration()
ERROR = 0.01


def said(count: int, seed: int, sharpness: float = 1.0) -> Stated:
    """Probabilities that are right at a sharpness of 1, and too sure above it; the decisions are the same."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, count)
    truth = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(float)
    return Stated(1 / (1 + np.exp(-sharpness * logit)), truth, np.arange(count))


def test_a_model_that_became_too_sure_is_refused() -> None:
    good, sure = said(700, 1), said(700, 1, sharpness=5)
    assert np.array_equal(good.probability > 0.5, sure.probability > 0.5)
    verdict = examine_calibration({"sign.is_sign": good}, {"sign.is_sign": sure}, PLAN, ERROR, 1)
    assert not verdict.passed and verdict.reasons[0].startswith("sign.is_sign: the calibration error grew from ")
    assert examine_calibration({"sign.is_sign": sure}, {"sign.is_sign": good}, PLAN, ERROR, 1).passed
    assert examine_calibration({"sign.is_sign": good}, {"sign.is_sign": good}, PLAN, ERROR, 1).passed


def test_equally_calibrated_models_are_seldom_told_apart() -> None:
    refused = sum(
        not examine_calibration({"a": said(300, 2 * seed)}, {"a": said(300, 2 * seed + 1)}, PLAN, 0.05, 1).passed
        for seed in range(100)
    )
    assert refused <= 5


@given(st.floats(0.01, 0.99), st.integers(1, 400))
def test_the_error_of_one_probability_is_its_distance_from_the_frequency(probability: float, hits: int) -> None:
    truth = np.r_[np.ones(hits), np.zeros(400 - hits)]
    # All in one bin: the same probability everywhere, and the truth spread evenly.
    order = np.random.default_rng(0).permutation(400)
    error = calibration_error(np.full(400, probability), truth[order])
    assert error == pytest.approx(abs(probability - hits / 400), abs=0.2)
    assert error >= abs(probability - hits / 400) - 1e-9, "bins can only add to the error of the whole"


def test_what_has_no_probability_or_no_answer_is_left_out() -> None:
    samples = red_squares(80, 1)
    outputs = {column: np.full((80, head.width), 0.5, np.float32) for column, (_, head) in SCHEMA.columns().items()}
    found = stated(SCHEMA, outputs, samples.targets)
    signs = int((samples.targets["sign.is_sign"][:, 0] == 1).sum())
    assert {column: len(each.truth) for column, each in found.items()} == {
        "sign.is_sign": 80, "sign.applies": signs, "sign.traits": 160, "light.state": 40,
    }  # fmt: skip
    assert len(set(found["sign.traits"].scene.tolist())) == 80


def test_too_few_answers_are_not_passed() -> None:
    few = said(LEAST - 1, 1)
    verdict = examine_calibration({"a": few}, {"a": few}, PLAN, ERROR, 1)
    assert not verdict.passed and verdict.reasons[0].startswith("Nothing to examine")

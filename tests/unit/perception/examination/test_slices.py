"""The verdict on a model follows the evidence, question by question and slice by slice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.perception.nets import SCHEMA

from perception.evaluate import Correct
from perception.examination import slices as gate
from perception.examination.slices import chance_of, examine_first
from perception.examination.verdict import Undecided, Verdict

PLAIN = ("plain", "none")
Right = dict[str, np.ndarray]
ERROR = 0.05


def examine(now: Correct, before: Correct, slices: list[str], plain: tuple[str, ...]) -> Verdict:
    return gate.examine(now, before, slices, plain, ERROR)


def right(*groups: tuple[str, int, int], question: str = "sign") -> tuple[Right, list[str]]:
    """Answers to a question: (slice, correct, scenes)."""
    values = np.concatenate([np.r_[np.ones(hits), np.zeros(total - hits)] for _, hits, total in groups])
    return {question: values}, [name for name, _, total in groups for _ in range(total)]


def test_a_first_model_must_beat_chance_at_every_question_in_every_plain_slice() -> None:
    good, slices = right(("plain", 55, 60), ("none", 58, 60), ("odd", 0, 60))
    assert examine_first(SCHEMA, good, slices, PLAIN).passed
    bad, slices = right(("plain", 31, 60), ("none", 58, 60))
    verdict = examine_first(SCHEMA, bad, slices, PLAIN)
    assert not verdict.passed and "sign in plain" in verdict.reasons[0] and "51.7 %" in verdict.reasons[0]
    lights, _ = right(("plain", 20, 60), ("none", 58, 60), question="light")
    both = {**right(("plain", 55, 60), ("none", 58, 60))[0], **lights}
    verdict = examine_first(SCHEMA, both, slices, PLAIN)
    assert not verdict.passed and verdict.reasons[0].startswith("light in plain: 33.3 %")


def test_nothing_to_examine_is_not_passed() -> None:
    """A first model with every answer wrong, whose test set has the slices day and night, used to pass."""
    wrong, slices = right(("day", 0, 60), ("night", 0, 60))
    verdict = examine_first(SCHEMA, wrong, slices, PLAIN)
    assert not verdict.passed
    assert verdict.reasons == ["Nothing to examine: the test set has day, night, and none of plain, none."]
    assert not examine_first(SCHEMA, {"sign": np.full(5, np.nan)}, ["plain"] * 5, PLAIN).passed
    few, slices = right(("plain", 3, 3), ("odd", 2, 3))
    verdict = examine(few, few, slices, PLAIN)
    assert not verdict.passed and verdict.reasons[0].startswith("Nothing to examine")
    assert not examine({}, {}, [], PLAIN).passed


def test_a_first_model_with_too_few_scenes_is_told_how_many_more_it_needs() -> None:
    few, slices = right(("plain", 3, 3))
    verdict = examine_first(SCHEMA, few, slices, PLAIN)
    assert not verdict.passed and verdict.undecided == (Undecided("sign", "plain", 3, 1),)


def test_one_lost_slice_is_enough_however_much_the_others_gain() -> None:
    before, slices = right(("plain", 58, 60), ("odd", 20, 60), ("night", 58, 60))
    gained, _ = right(("plain", 58, 60), ("odd", 55, 60), ("night", 58, 60))
    assert examine(gained, before, slices, PLAIN).passed
    costly, _ = right(("plain", 58, 60), ("odd", 60, 60), ("night", 30, 60))
    verdict = examine(costly, before, slices, PLAIN)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("sign got worse in night: 96.7 % to 50.0 % of 60 scenes")


def test_one_lost_task_is_enough() -> None:
    before, slices = right(("plain", 58, 60), ("odd", 20, 60))
    gained, _ = right(("plain", 58, 60), ("odd", 55, 60))
    lights, dark = right(("plain", 60, 60), ("odd", 60, 60), question="light")[0], {"light": np.zeros(120)}
    verdict = examine({**gained, **dark}, {**before, **lights}, slices, PLAIN)
    assert not verdict.passed and any("light got worse in plain" in each for each in verdict.reasons)
    assert examine({**gained, **lights}, {**before, **lights}, slices, PLAIN).passed


def test_a_model_that_gains_nothing_does_not_pass() -> None:
    same, slices = right(("plain", 58, 60), ("odd", 20, 60))
    verdict = examine(same, same, slices, PLAIN)
    assert not verdict.passed and verdict.reasons[0].startswith("Nothing improved in the rare slices: sign 33.3 %")


def test_a_slice_with_too_few_scenes_neither_passes_nor_fails() -> None:
    before, slices = right(("plain", 58, 60), ("odd", 20, 60), ("snow", 4, 4))
    now, _ = right(("plain", 58, 60), ("odd", 55, 60), ("snow", 0, 4))
    verdict = examine(now, before, slices, PLAIN)
    assert verdict.passed and verdict.undecided == (Undecided("sign", "snow", 4, 2),)
    assert verdict.reasons[-1] == "Not decided for want of scenes: sign in snow (2 more scenes)."


def test_equal_models_are_seldom_told_apart() -> None:
    """Forty comparisons of two equally good models: in at most 5 % of the tests, the first is called worse."""
    rng, wrong = np.random.default_rng(5), 0
    slices = [f"s{n}" for n in range(20) for _ in range(60)]
    for _ in range(300):
        one, two = ({q: (rng.random(1200) < 0.8).astype(float) for q in ("sign", "light")} for _ in range(2))
        wrong += any("got worse" in each for each in examine(one, two, slices, ()).reasons)
    assert wrong <= 20  # 300 tests at 5 %: 15 are expected at most, and the exact tests are conservative


@given(st.integers(0, 30), st.integers(0, 30))
def test_two_models_never_both_pass_against_each_other(hits: int, other: int) -> None:
    one, slices = right(("odd", hits, 30))
    two, _ = right(("odd", other, 30))
    assert (examine(one, two, slices, PLAIN).passed, examine(two, one, slices, PLAIN).passed) != (True, True)


def test_questions_have_the_chance_of_a_guess() -> None:
    chances = {name: chance_of(SCHEMA, name) for name in ("sign", "light", "sign.traits", "sign.distance")}
    assert chances == {"sign": 0.5, "light": 0.5, "sign.traits": None, "sign.distance": None}


def test_a_model_that_never_acts_at_night_can_be_replaced_by_one_that_sees() -> None:
    """It is right wherever nothing is to be done; what it never knew is not lost."""
    slices = ["day_sign", "day_none"] * 60 + ["night_sign", "night_none"] * 60
    truth = np.tile([1.0, 0.0], 120)
    night = np.array([name.startswith("night") for name in slices])
    mute = np.where(night & (truth == 1), 0.0, 1.0)
    rng = np.random.default_rng(1)
    sees = np.where(night & (truth == 0), (rng.random(240) < 0.6).astype(float), 1.0)
    conditions = gate.Conditions({"sign": truth}, ("night_",))
    verdict = gate.examine({"sign": sees}, {"sign": mute}, slices, ("day_sign", "day_none"), ERROR, conditions)
    assert verdict.passed, verdict.reasons
    assert verdict.reasons[-1].startswith("Nothing could be lost in sign of night_*")
    strict = gate.examine({"sign": sees}, {"sign": mute}, slices, ("day_sign", "day_none"), ERROR)
    assert not strict.passed and strict.reasons[0].startswith("sign got worse in night_none")


def test_what_was_known_a_little_can_be_lost_and_a_guess_replaces_nothing() -> None:
    slices = ["night_sign", "night_none"] * 60
    truth = np.tile([1.0, 0.0], 60)
    rng = np.random.default_rng(2)
    conditions = gate.Conditions({"sign": truth}, ("night_",))
    weak = np.where(truth == 1, (rng.random(120) < 0.3).astype(float), 1.0)
    better = np.where(truth == 0, (rng.random(120) < 0.5).astype(float), 1.0)
    verdict = gate.examine({"sign": better}, {"sign": weak}, slices, (), ERROR, conditions)
    assert not verdict.passed and verdict.reasons[0].startswith("sign got worse in night_none")
    mute, guess = 1.0 - truth, (rng.random(120) < 0.5).astype(float)
    assert not gate.knows(mute, truth) and not gate.knows(guess, truth) and gate.knows(better, truth)
    verdict = gate.examine({"sign": guess}, {"sign": mute}, slices, (), ERROR, conditions)
    assert not verdict.passed and verdict.reasons[0].startswith("sign got worse in night_none")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_a_model_that_always_does_the_same_knows_nothing(scenes: list[tuple[bool, bool]]) -> None:
    truth = np.array([float(one) for one, _ in scenes])
    for acts in (0.0, 1.0):
        assert not gate.knows((truth == acts).astype(float), truth)


def test_every_scene_is_under_one_condition() -> None:
    slices = ["none", "night_none", "snow_held"]
    groups = gate.Conditions({}, ("night_", "snow_")).groups(slices)
    assert {name: chosen.tolist() for name, chosen in groups.items()} == {
        "night_": [False, True, False], "snow_": [False, False, True], "": [True, False, False],
    }  # fmt: skip

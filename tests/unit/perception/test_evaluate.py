"""The evaluation counts correctly."""

import numpy as np
from tests.unit.perception.nets import SCHEMA, red_squares

from perception.evaluate import RARE, correct_answers, metrics

PLAIN = ("plain", "none")


def perfect() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    samples = red_squares(40, 5)
    outputs = {
        column: np.nan_to_num(samples.targets[column], nan=0.0).repeat(
            head.width if head.kind == "categorical" else 1, axis=1
        )
        for column, (_, head) in SCHEMA.columns().items()
    }
    outputs["light.state"] = np.tile(np.array([[0.9, 0.1]], np.float32), (40, 1))
    return outputs, dict(samples.targets), list(samples.slices)


def test_perfect_answers_score_one_everywhere() -> None:
    outputs, targets, slices = perfect()
    found = metrics(SCHEMA, outputs, targets, slices, PLAIN)
    assert {metric.value for metric in found} == {1.0}
    assert {(m.task, m.slice, m.name) for m in found} >= {
        ("sign", "plain", "recall"), ("sign", "all", "precision"), ("light", "all", "accuracy"),
    }  # fmt: skip


def test_unknown_answers_are_not_counted() -> None:
    outputs, targets, slices = perfect()
    lights = next(
        m for m in metrics(SCHEMA, outputs, targets, slices, PLAIN) if m.task == "light" and m.slice == "all"
    )
    assert lights.samples == 20


def test_rare_is_all_that_is_not_plain() -> None:
    outputs, targets, slices = perfect()
    slices = ["odd"] * 10 + slices[10:]
    outputs["sign.is_sign"][:10] = 1 - outputs["sign.is_sign"][:10]
    outputs["sign.applies"][:10] = 1
    found = {(m.slice, m.name): m for m in metrics(SCHEMA, outputs, targets, slices, PLAIN) if m.task == "sign"}
    assert found[(RARE, "recall")].value == found[("odd", "recall")].value == 0.0
    assert found[("plain", "recall")].value == 1.0


def test_every_head_is_a_question_and_a_decision_stands_for_its_heads() -> None:
    outputs, targets, _ = perfect()
    answers = correct_answers(SCHEMA, outputs, targets)
    assert set(answers) == {"sign", "sign.traits", "sign.distance", "light"}
    outputs["sign.traits"][3] = (1, 0)
    outputs["sign.distance"][:] += 3.1  # the scale is 30 m, of which a tenth is allowed
    outputs["light.state"][:] = (0.1, 0.9)
    changed = correct_answers(SCHEMA, outputs, targets)
    assert np.nansum(changed["sign.traits"]) == np.nansum(answers["sign.traits"]) - 1
    assert np.nansum(changed["sign.distance"]) == np.nansum(changed["light"]) == 0
    known = ~np.isnan(targets["sign.distance"][:, 0])
    assert (np.isnan(changed["sign.distance"]) == ~known).all(), "unknown answers are neither right nor wrong"
    assert 0 < np.nansum(answers["sign.distance"]) == known.sum()

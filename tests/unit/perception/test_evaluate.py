"""The evaluation counts correctly, and its verdict follows the evidence."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.perception.nets import SCHEMA, red_squares

from perception.evaluate import RARE, decide_verdict, metrics

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


def right(*groups: tuple[str, int, int]) -> tuple[dict[str, np.ndarray], list[str]]:
    values = np.concatenate([np.r_[np.ones(hits), np.zeros(total - hits)] for _, hits, total in groups])
    return {"sign": values}, [name for name, _, total in groups for _ in range(total)]


def test_a_first_model_must_beat_chance_on_every_plain_slice() -> None:
    good, slices = right(("plain", 55, 60), ("none", 58, 60), ("odd", 0, 60))
    assert decide_verdict("sign", good, None, slices, PLAIN).passed
    bad, slices = right(("plain", 31, 60), ("none", 58, 60))
    verdict = decide_verdict("sign", bad, None, slices, PLAIN)
    assert not verdict.passed and "plain" in verdict.reasons[0] and "51.7 %" in verdict.reasons[0]


def test_a_better_tail_passes_unless_a_plain_slice_is_lost() -> None:
    before, slices = right(("plain", 58, 60), ("odd", 20, 60))
    better, _ = right(("plain", 57, 60), ("odd", 45, 60))
    assert decide_verdict("sign", better, before, slices, PLAIN).passed
    costly, _ = right(("plain", 40, 60), ("odd", 55, 60))
    verdict = decide_verdict("sign", costly, before, slices, PLAIN)
    assert not verdict.passed and any("plain got worse" in reason for reason in verdict.reasons)
    same = decide_verdict("sign", before, before, slices, PLAIN)
    assert not same.passed and "did not improve" in same.reasons[0]


@given(st.integers(0, 30), st.integers(0, 30))
def test_two_models_are_never_both_significantly_better(hits: int, other: int) -> None:
    one, slices = right(("odd", hits, 30))
    two, _ = right(("odd", other, 30))
    passed = (
        decide_verdict("sign", one, two, slices, PLAIN).passed,
        decide_verdict("sign", two, one, slices, PLAIN).passed,
    )
    assert passed != (True, True)

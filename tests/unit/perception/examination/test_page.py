"""The page of an examination shows the verdict, what was lost, and the worst failures with their pictures."""

from __future__ import annotations

import html.parser

import numpy as np
from tests.unit.perception.nets import SCHEMA, red_squares

from fleetloop.domain.run_folder import Gate, Metric
from perception.data import Samples
from perception.evaluate import correct_answers
from perception.examination.page import MOST_FAILURES, Examined, page


def metric(value: float, **changes: object) -> Metric:
    fields = {"task": "sign", "slice": "plain", "name": "recall", "samples": 60}
    return Metric(**{**fields, "value": value, "low": value - 0.05, "high": value + 0.05, **changes})


def examined(**changes: object) -> Examined:
    test = red_squares(60, 1)
    outputs = {column: np.full((60, head.width), 0.5, np.float32) for column, (_, head) in SCHEMA.columns().items()}
    right = correct_answers(SCHEMA, outputs, test.targets)
    fields = {
        "title": "run-1 on v3", "card": {"model": "ab12"},
        "gates": [Gate(name="slices", passed=False, reasons=["sign got worse in <plain>."])],
        "metrics": [metric(0.5)], "parent_metrics": [metric(0.9)], "test": test, "outputs": outputs, "right": right,
        "parent_right": {name: np.ones(60) for name in right},
    }  # fmt: skip
    return Examined(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_page_says_what_was_refused_and_shows_it() -> None:
    text = page(examined(), SCHEMA)
    assert '<strong class="refused">refused</strong>' in text
    assert "sign got worse in &lt;plain&gt;." in text, "reasons are text, not markup"
    assert '<tr class="worse"><td>plain<td>50.0 % (45 to 55)<td>90.0 % (85 to 95)<td>60' in text
    assert text.count("The model in the field was right.") == text.count("<figure>") == MOST_FAILURES
    assert "is_sign 50 %, right is yes" in text and "data:image/png;base64," in text
    assert "<script" not in text and "http" not in text, "it needs nothing else"
    html.parser.HTMLParser().feed(text)


def test_a_model_that_passed_everything_has_no_failures_to_show() -> None:
    test = red_squares(60, 1)
    outputs = {column: np.nan_to_num(values) for column, values in test.targets.items()}
    outputs["light.state"] = np.tile(np.array([1.0, 0.0], np.float32), (60, 1))
    text = page(
        examined(
            gates=[Gate(name="slices", passed=True, reasons=[])], outputs=outputs, parent_metrics=[],
            right=correct_answers(SCHEMA, outputs, test.targets), parent_right=None,
        ),
        SCHEMA,
    )  # fmt: skip
    assert '<strong class="passed">passed</strong>' in text and "<figure>" not in text
    assert text.count("No scene of the test set is wrong.") == 2
    assert "<td>50.0 % (45 to 55)<td>–<td>60" in text, "a first model has none to be compared with"


def test_failures_of_every_slice_come_before_a_second_one_of_any() -> None:
    base = red_squares(60, 1)
    slices = ["common"] * 50 + [f"rare{number}" for number in range(10)]
    test = Samples(base.frames, base.targets, slices, base.groups)
    text = page(examined(test=test, right={"sign": np.zeros(60)}, parent_right=None), SCHEMA)
    for number in range(10):
        assert f"<figcaption>rare{number}: " in text

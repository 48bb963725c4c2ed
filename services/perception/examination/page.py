"""The examination of a model as one HTML page: the verdict of each gate, figures by slice, and the worst failures.

The page needs no script and no other file.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fleetloop.domain.run_folder import Gate, Metric
from fleetloop.domain.tasks import TaskSchema
from perception.data import Samples
from perception.evaluate import Correct, Outputs

MOST_FAILURES = 12
"""Scenes that are shown of each task."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}
table{border-collapse:collapse;margin:.5rem 0}
th,td{text-align:right;padding:.25rem .7rem;border-bottom:1px solid #dde2e8}
th:first-child,td:first-child,.text{text-align:left}h2{margin-top:2.5rem}.quiet{color:#5a6675}
.passed{color:#17663a}.refused{color:#a3231f}.worse{background:#fbe9e7}.better{background:#e6f4ea}
figure{display:inline-block;margin:.4rem .8rem .4rem 0;vertical-align:top}
figure img{width:96px;image-rendering:pixelated;margin-right:2px}
figcaption{color:#5a6675;font-size:13px;max-width:300px}
"""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the page shows."""

    title: str
    card: Mapping[str, object]
    gates: Sequence[Gate]
    metrics: Sequence[Metric]
    parent_metrics: Sequence[Metric]
    """Empty for a first model."""
    test: Samples
    outputs: Outputs
    right: Correct
    parent_right: Correct | None


def page(examined: Examined, schema: TaskSchema) -> str:
    """Build the page."""
    passed = bool(examined.gates) and all(gate.passed for gate in examined.gates)
    verdict = "passed" if passed else "refused"
    facts = "".join(
        f'<tr><td>{html.escape(name.replace("_", " "))}<td class="text">{html.escape(str(value))}'
        for name, value in examined.card.items()
    )
    failures = "".join(_failures(examined, schema, task.name) for task in schema.tasks)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(examined.title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(examined.title)}</h1>"
        f'<p>The examination: <strong class="{verdict}">{verdict}</strong>.</p>'
        f"<h2>What each gate said</h2>{_gates(examined.gates)}"
        f"<h2>Correct answers by slice</h2>{_slices(examined)}"
        f"<h2>Worst failures</h2>{failures}"
        f"<h2>How it was made</h2><table>{facts}</table></html>"
    )


def _gates(gates: Sequence[Gate]) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(gate.name.replace("_", " "))}<td class="{"passed" if gate.passed else "refused"}">'
        f'{"passed" if gate.passed else "refused"}<td class="text">{"<br>".join(map(html.escape, gate.reasons))}'
        for gate in gates
    )
    return f'<table><tr><th>Gate<th>Verdict<th class="text">Reasons</tr>{rows}</table>'


def _slices(examined: Examined) -> str:
    """One table per question: what the model and the one in the field answer correctly, with 95 % intervals."""
    before = {(each.task, each.slice): each for each in examined.parent_metrics if each.name == "recall"}
    tables = []
    shown = [each for each in examined.metrics if each.name == "recall" and each.slice not in ("all",)]
    for task in dict.fromkeys(each.task for each in shown):
        rows = "".join(_slice_row(each, before.get((task, each.slice))) for each in shown if each.task == task)
        tables.append(
            f"<h3>{html.escape(task)}</h3><table><tr><th>Slice<th>Model<th>In the field<th>Scenes</tr>{rows}</table>"
        )
    return "".join(tables)


def _slice_row(now: Metric, before: Metric | None) -> str:
    mark = ""
    if before is not None:
        mark = "worse" if now.high < before.low else "better" if now.low > before.high else ""
    was = "–" if before is None else _share(before)
    return f'<tr class="{mark}"><td>{html.escape(now.slice)}<td>{_share(now)}<td>{was}<td>{now.samples}'


def _share(metric: Metric) -> str:
    return f"{100 * metric.value:.1f} % ({100 * metric.low:.0f} to {100 * metric.high:.0f})"


def _failures(examined: Examined, schema: TaskSchema, task: str) -> str:
    """Scenes that the model gets wrong, first those that the model in the field got right."""
    question = next((name for name in examined.right if name.partition(".")[0] == task), None)
    if question is None:
        return ""
    wrong = np.flatnonzero(examined.right[question] == 0)
    if not len(wrong):
        return f'<h3>{html.escape(task)}</h3><p class="quiet">No scene of the test set is wrong.</p>'
    was_right = np.zeros(len(wrong), np.bool_)
    if examined.parent_right is not None:
        was_right = examined.parent_right[question][wrong] == 1
    chosen = _spread(wrong[np.argsort(~was_right, kind="stable")], examined.test.slices)
    lost = set(wrong[was_right].tolist())
    figures = "".join(_figure(examined, schema, task, row, row in lost) for row in chosen)
    return (
        f"<h3>{html.escape(task)}: {len(wrong)} of {int((~np.isnan(examined.right[question])).sum())} scenes</h3>"
        f"{figures}"
    )


def _spread(rows: NDArray[np.int64], slices: Sequence[str]) -> list[int]:
    """At most MOST_FAILURES rows, one of every slice before a second of any."""
    turn: dict[str, int] = {}
    keyed = []
    for position, row in enumerate(rows.tolist()):
        number = turn.get(slices[row], 0)
        turn[slices[row]] = number + 1
        keyed.append((number, position, row))
    return [row for _, _, row in sorted(keyed)[:MOST_FAILURES]]


def _figure(examined: Examined, schema: TaskSchema, task: str, row: int, lost: bool) -> str:
    present = examined.test.frames[row, -1]
    images = "".join(
        f'<img alt="{html.escape(camera.name)}" title="{html.escape(camera.name)}" src="{_png(present[number])}">'
        for number, camera in enumerate(schema.cameras)
        if camera.kind == schema.cameras[0].kind
    )
    said = ", ".join(_said(examined, schema, column, row) for column in _columns_of(schema, task))
    note = " The model in the field was right." if lost else ""
    return (
        f"<figure>{images}<figcaption>{html.escape(examined.test.slices[row])}: {html.escape(said)}.{note}"
        "</figcaption></figure>"
    )


def _columns_of(schema: TaskSchema, task: str) -> list[str]:
    return [column for column, (owner, _) in schema.columns().items() if owner.name == task]


def _said(examined: Examined, schema: TaskSchema, column: str, row: int) -> str:
    """What the model said of one output, and what is right."""
    head = schema.columns()[column][1]
    output, target = examined.outputs[column][row], examined.test.targets[column][row]
    unknown = bool(np.isnan(target).any())
    if head.kind == "categorical":
        chosen = int(output.argmax())
        right = "unknown" if unknown else head.classes[int(target[0])]
        return f"{head.name} {head.classes[chosen]} ({100 * float(output[chosen]):.0f} %), right is {right}"
    if head.kind == "scalar":
        right = "unknown" if unknown else f"{float(target[0]):.1f}"
        return f"{head.name} {float(output[0]):.1f} {head.unit}, right is {right}"
    names = head.classes or (head.name,)
    return ", ".join(
        f"{name} {100 * float(probability):.0f} %, right is {'unknown' if unknown else 'yes' if truth else 'no'}"
        for name, probability, truth in zip(names, output, target, strict=True)
    )


def _png(picture: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

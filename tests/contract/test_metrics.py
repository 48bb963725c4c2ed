"""The metrics of all services follow the conventions of Prometheus, and documents name only metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

ROOT = Path(__file__).parents[2]
MODULES = [
    "fleetloop.kit.process.metrics",
    *(f"{path.parent.name}.metrics" for path in (ROOT / "services").glob("*/metrics.py")),
]
UNITS = {"seconds", "bytes", "meters", "messages", "rows"}
ADJECTIVES = {
    "open", "waiting", "pending", "ended", "refused", "rejected", "silent", "unavailable", "unsure", "oldest",
    "dropped", "missed", "lost", "repeated", "replayed",
}  # fmt: skip
"""They stand before the noun: waiting_clips."""


def metrics() -> Iterator[tuple[str, MetricWrapperBase]]:
    for module in MODULES:
        for value in vars(import_module(module)).values():
            if isinstance(value, MetricWrapperBase):
                yield module, value


METRICS = {metric._name: (module, metric) for module, metric in metrics()}


def exported_names() -> set[str]:
    """The names as Prometheus stores them."""
    names = set()
    for name, (_, metric) in METRICS.items():
        if isinstance(metric, Counter):
            names.add(f"{name}_total")
        elif isinstance(metric, Histogram):
            names |= {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"}
        else:
            names.add(name)
    return names


def test_there_are_metrics_of_every_service() -> None:
    assert len(MODULES) > 10
    assert {module for module, _ in METRICS.values()} == set(MODULES)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_the_prefix_lower_case_words_and_its_adjective_before_its_noun(name: str) -> None:
    assert re.fullmatch(r"fleetloop(_[a-z0-9]+)+", name)
    assert name.rsplit("_", 1)[1] not in ADJECTIVES
    assert not {"ms", "km", "kilometers", "minutes", "mb"} & set(name.split("_")), "base units only"


@pytest.mark.parametrize("name", METRICS)
def test_the_help_text_is_sentences_that_explain_the_metric(name: str) -> None:
    text = METRICS[name][1]._documentation
    assert text.endswith(".")
    assert text[0].isupper() or text[0].isdigit()
    assert len(text.split()) >= 5, text


@pytest.mark.parametrize("name", [name for name, (_, metric) in METRICS.items() if isinstance(metric, Histogram)])
def test_a_histogram_names_its_unit(name: str) -> None:
    assert name.rsplit("_", 1)[1] in UNITS


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    kinds = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
    lines = []
    for name, (_, metric) in METRICS.items():
        full = f"{name}_total" if isinstance(metric, Counter) else name
        lines += [f"# HELP {full} {metric._documentation}", f"# TYPE {full} {kinds[type(metric)]}"]
        if isinstance(metric, Histogram):
            lines += [f'{full}_bucket{{le="+Inf"}} 1', f"{full}_sum 1", f"{full}_count 1"]
        else:
            lines.append(f"{full} 1")
    text = "\n".join(lines) + "\n"
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "docs").glob("*.md"), *(ROOT / "services").glob("*/README.md"), ROOT / "README.md",
     ROOT / "charts" / "fleetloop" / "alerts.yaml", ROOT / "tests" / "chart" / "alerts_test.yaml"],
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_a_document_names_only_metrics_that_exist(path: Path) -> None:
    named = set(re.findall(r"\bfleetloop_[a-z0-9_]*[a-z0-9]\b(?!_?\*|\.|/)", path.read_text(encoding="utf-8")))
    assert {name for name in named if not name.startswith("fleetloop_services")} <= exported_names()


def test_the_pages_for_sres_explain_the_lead_time() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert "fleetloop_loop_lead_seconds" in page and "fleetloop_stage_seconds" in page

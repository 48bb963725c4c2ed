"""The shipped catalogue loads, and a wrong one is refused with the signal's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.domain.signals import CatalogueError, load_catalogue, parse_catalogue

SHIPPED = Path(__file__).parents[4] / "config" / "signals.yaml"


def test_the_shipped_catalogue_loads() -> None:
    catalogue = load_catalogue(SHIPPED)
    assert catalogue["Vehicle.Speed"].unit == "km/h"
    fields = [s.path.rpartition(".")[2] for s in catalogue.group("Perception.Tracks")]
    assert fields[:3] == ["Id", "Class", "Score"]
    for signal in catalogue.signals.values():
        assert signal.description, signal.path


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ("{type: float16}", "type"),
        ("{type: enum}", "values"),
        ("{type: bool, values: [a]}", "values"),
        ("{type: enum, values: [a, a]}", "twice"),
        ("{type: enum, values: [on, off]}", "quote"),
        ("{type: float32, min: 2, max: 1}", "min"),
        ("{type: float32, min: low}", "min"),
        ("{type: bool, unit: m}", "unit"),
        ("{type: int32, nan_allowed: true}", "nan_allowed"),
        ("{type: bool, max_age_s: 0}", "max_age_s"),
        ("{type: bool, minimum: 0}", "minimum"),
        ("[]", "mapping"),
    ],
)
def test_a_wrong_signal_is_named(definition: str, named: str) -> None:
    with pytest.raises(CatalogueError, match=named) as caught:
        parse_catalogue(f"signals: {{A.B: {definition}}}")
    assert "A.B" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "[]",
        "signals: []",
        "signals: {}\nsignal: {}",
        "signals: {1-a: {type: bool}}",
        "signals: {}\nlimits: {max_frames: 0}",
        "signals: {}\nlimits: {frames: 1}",
    ],
)
def test_a_wrong_file_is_refused(text: str) -> None:
    with pytest.raises(CatalogueError):
        parse_catalogue(text)

"""What the examination requires is read from files, and a mistake in them names the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.shipped import config_folder
from perception.examination.plan import (
    ExaminationPlan,
    ExaminationPlanError,
    Slices,
    VehicleBudget,
    load_budget,
    load_plan,
)


def test_the_shipped_files_have_the_values_that_hold_without_them() -> None:
    shipped = load_plan(config_folder() / "examination.yaml")
    assert shipped.closed_loop.world == "town", "which a fleet with its own tasks does not have"
    nowhere = shipped.closed_loop.model_copy(update={"world": "none"})
    assert shipped.slices.conditions == ("night_",), "which are slices of the town as well"
    elsewhere = shipped.model_copy(update={"closed_loop": nowhere, "slices": Slices()})
    assert elsewhere == load_plan(None) == ExaminationPlan()
    assert load_budget(config_folder() / "vehicle.yaml") == load_budget(None) == VehicleBudget()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("error: 0.9", "error"),
        ("robustness: {margn: 0.1}", "robustness.margn"),
        (
            "shares: {slices: 0.5, temporal: 0.6, closed_loop: 0.0}",
            "add up to 1.4",
        ),
        ("[", "examination.yaml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "examination.yaml"
    path.write_text(text)
    with pytest.raises(ExaminationPlanError, match=said):
        load_plan(path)


def test_a_file_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ExaminationPlanError, match="cannot be read"):
        load_budget(tmp_path / "vehicle.yaml")

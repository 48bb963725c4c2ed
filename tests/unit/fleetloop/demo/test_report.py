from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetloop.demo.plan import CONFIG, DemoPlan
from fleetloop.demo.preparation import vehicle_names, write_config
from fleetloop.demo.report import write_reports
from fleetloop.demo.results import DemoResults, LeadTime, Rate, RecordedDrive, Turn
from fleetloop.demo.screen import lead_text, rate_text, recall_text
from fleetloop.demo.vehicles import DriveResult


def turn(outcome: str, lead: LeadTime | None) -> Turn:
    return Turn(
        dataset_version="v2",
        model_version="model-2",
        outcome=outcome,
        reasons=["Rare slices improved <b>"],
        by_trigger={"flicker v1": 40},
        labels_by_source={"human": 30, "hindsight": 10},
        refused={"near_duplicate": 3},
        added=40,
        samples=1540,
        recall_before={"rare": (0.4, 0.35, 0.45), "plain": (0.98, 0.95, 0.99)},
        recall_after={"rare": (0.7, 0.65, 0.75), "plain": (0.97, 0.94, 0.99)},
        before=Rate(50, 40.0, 24),
        after=Rate(20, 40.0, 24),
        lead_time=lead,
    )


@pytest.fixture
def results() -> DemoResults:
    return DemoResults(
        recorded_drive=RecordedDrive("a source", 100, 100, 0, 0),
        first_model={"rare": (0.4, 0.35, 0.45)},
        turns=[
            turn("released", LeadTime(3.0, 20.0, 60.0, 90.0)),
            turn("rolled_back", LeadTime(3.0, 20.0, 60.0, None)),
        ],
        drives=[DriveResult("p", 300, 41.0, 40.0, 50, 9000, {})],
        cpu_s={"kafka": 12.3},
        wall_s=400.0,
        simulated_rate=120.0,
    )


def test_the_report_has_the_documented_fields(results: DemoResults, tmp_path: Path) -> None:
    json_path, picture, page = write_reports(results, tmp_path)
    report = json.loads(json_path.read_text())
    assert {"source", "frames_sent", "frames_archived", "frames_duplicated"} <= set(report["recorded_drive"])
    first, second = report["turns"]
    assert (first["outcome"], second["outcome"]) == ("released", "rolled_back")
    assert (first["rare_recall_before"], first["rare_recall_after"]) == (0.4, 0.7)
    assert first["interventions_per_100km_before"] == pytest.approx(125.0)
    assert first["interventions_per_100km_after"] == pytest.approx(50.0)
    assert first["lead_time_s"] == {"label": 3.0, "dataset": 20.0, "model": 60.0, "last_vehicle": 90.0}
    assert second["lead_time_s"]["last_vehicle"] is None
    assert (report["inferences"], report["km"]) == (9000, 41.0)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Rare slices improved &lt;b&gt;" in page.read_text()


def test_a_turn_that_failed_is_shown_as_one(results: DemoResults) -> None:
    assert lead_text(results.turns[1], "last_vehicle") == "–"
    assert rate_text(Rate(0, 0.0, 0)).startswith("0.0 [0.0, inf]")
    assert recall_text(results.turns[0], "rare") == "0.40 → 0.70 [0.65, 0.75]"


def test_every_value_that_the_demo_replaces_is_in_the_shipped_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    for name, values in CONFIG.items():
        text = (config / name).read_text()
        for key, value in values.items():
            assert f"{key}: {value}\n" in text


def test_vehicles_are_named_as_the_agent_names_them() -> None:
    assert vehicle_names(DemoPlan(vehicles=2)) == ["vehicle-000", "vehicle-001"]

"""Vehicles through the real town with real (tiny) models: every picture is answered, also over a change of model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.vehicle_agent.tiny_model import write_model

from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.validation import validate
from fleetloop.worlds.town.fleet import TownFleet
from vehicle_agent.__main__ import OnnxModels
from vehicle_agent.model import Assignment, ModelUnusableError
from vehicle_agent.ports import LoadedModels, Runner
from vehicle_agent.simulation import FleetSimulation, StepResult

CONFIG = Path(__file__).parents[3] / "config"
CATALOGUE, SCHEMA = load_catalogue(CONFIG / "signals.yaml"), load_task_schema(CONFIG / "tasks.yaml")
NAMES = ["car-1", "car-2"]
START = 1_700_000_000 * 10**9
NEVER: Mapping[str, float] = {}
ALWAYS = {"stop_sign.is_sign": 1.0, "stop_sign.applies": 1.0}


@pytest.fixture
def models() -> OnnxModels:
    return OnnxModels(SCHEMA)


def model(models: OnnxModels, folder: Path, says: Mapping[str, float], **more: Any) -> Runner:
    digest = write_model(folder, SCHEMA, says, **more)
    runner = models.load(folder)
    assert runner.digest == digest
    return runner


def drive(models: OnnxModels, seed: int = 3, frames: int = 25) -> FleetSimulation:
    world = TownFleet(SCHEMA, len(NAMES), seed, 1)
    boots = {name: name.encode().ljust(8) for name in NAMES}
    return FleetSimulation(world, SCHEMA, CATALOGUE, models, "f", boots, START, frames, measure=lambda: 0.0)


def of(results: list[list[StepResult]], vehicle: str, part: str) -> list[Any]:
    return [each for some in results for one in some if one.vehicle_id == vehicle for each in getattr(one, part)]


def test_every_picture_is_answered_and_a_change_of_model_leaves_no_gap(models: OnnxModels, tmp_path: Path) -> None:
    old, new = model(models, tmp_path / "a", NEVER), model(models, tmp_path / "b", ALWAYS, name="new")
    simulation = drive(models)
    first = {name: LoadedModels(old, None, Assignment(old.digest)) for name in NAMES}
    second = {**first, "car-2": LoadedModels(old, new, Assignment(old.digest, new.digest, "r", "shadow"))}
    third = {**first, "car-2": LoadedModels(new, None, Assignment(new.digest, "", "r", "canary"))}
    results = [simulation.step(5, running) for running in (first, first, second, second, third, third)]
    results.append(simulation.finish())
    batches = of(results, "car-2", "batches")
    assert [(b.frames(), b.model_digest, b.shadow_digest) for b in batches] == [
        (10, old.digest, ""), (10, old.digest, new.digest), (10, new.digest, "")
    ]  # fmt: skip
    assert [batch.sequence for batch in batches] == [0, 1, 2]
    for batch, active, expected in zip(batches, (0, 0, 1), (None, 1, None), strict=True):
        assert validate(batch, CATALOGUE, START + 10**12).dropped == ()
        column = batch.columns["Perception.StopSign.IsSign"]
        assert column.offsets_ns is not None and column.offsets_ns.tolist() == [0, 5 * 10**8]
        assert column.values.tolist() == [active, active]
        shadow = batch.columns.get("Shadow.StopSign.IsSign")
        assert (None if shadow is None else shadow.values.tolist()) == (
            None if expected is None else [expected, expected]
        )
        assert "Perception.TrafficLight.State" in batch.columns
    reports = of(results, "car-2", "reports")
    assert [(r.model_digest, r.shadow_digest, r.cohort, r.inferences, r.shadow_frames) for r in reports] == [
        (old.digest, "", "control", 0, 0),
        (old.digest, "", "control", 2, 0),
        (old.digest, new.digest, "shadow", 0, 0),
        (old.digest, new.digest, "shadow", 2, 2),
        (new.digest, "", "canary", 0, 0),
        (new.digest, "", "canary", 2, 0),
    ]
    assert [r.sequence for r in reports] == list(range(6))
    assert reports[3].shadow_disagreements == 2
    assert all(a.end_utc_ns == b.start_utc_ns for a, b in pairwise(reports))
    assert [r.model_digest for r in of(results, "car-1", "reports")] == [old.digest] * 2


def test_what_a_drive_is_does_not_depend_on_how_it_is_cut(models: OnnxModels, tmp_path: Path) -> None:
    runner = model(models, tmp_path / "m", NEVER, brightness=1.0)
    running = {name: LoadedModels(runner, None, Assignment(runner.digest)) for name in NAMES}

    def recorded(steps: list[int]) -> list[Any]:
        for name in NAMES:
            runner.forget(name)
        simulation = drive(models)
        results = [simulation.step(ticks, running) for ticks in steps] + [simulation.finish()]
        return [
            [(path, c.values.tolist()) for b in of(results, name, "batches") for path, c in b.columns.items()]
            for name in NAMES
        ]

    once, often = recorded([60]), recorded([5] * 12)
    assert once == often
    seen = [value for path, values in once[0] if path == "Perception.StopSign.IsSign" for value in values]
    assert len(seen) == 12 and len(set(seen)) > 3  # it looked at pictures that differ


def test_pictures_truth_and_a_minutes_report_come_out(models: OnnxModels, tmp_path: Path) -> None:
    runner = model(models, tmp_path / "m", NEVER)
    running = {name: LoadedModels(runner, None, Assignment(runner.digest)) for name in NAMES}
    simulation = drive(models, frames=100)
    results = [simulation.step(5, running) for _ in range(122)]
    camera_frames = of(results, "car-1", "camera_frames")
    assert [frame.time_ns for frame in camera_frames[:3]] == [0, 5 * 10**8, 10**9]
    assert camera_frames[0].raw.shape == (8, 32, 32, 3)
    assert camera_frames[0].cameras == tuple(camera.name for camera in SCHEMA.cameras)
    truths = of(results, "car-1", "truths")
    assert truths[0]["utc_ns"] == START and {"answers", "slice", "place", "boot"} <= set(truths[0])
    reports = of(results, "car-1", "reports")
    assert len(reports) == 2
    assert reports[1].end_utc_ns - reports[1].start_utc_ns >= 60 * 10**9
    assert reports[1].inferences == 121
    assert reports[1].distance_km == pytest.approx(simulation.counters()["car-1"]["distance_km"], abs=0.02)


class Broken:
    """Stands for a model that fails while it runs, which no file makes ONNX Runtime do."""

    digest = "b" * 64

    def infer(self, vehicle_ids: object, cameras: object) -> list[Any]:
        raise RuntimeError("out of memory")

    def forget(self, vehicle_id: str) -> None:
        return None


def test_a_model_that_fails_is_a_fault_and_the_vehicle_drives_on(models: OnnxModels) -> None:
    simulation = drive(models)
    results = [simulation.step(10, {"car-1": LoadedModels(Broken())}), simulation.finish()]
    assert of(results, "car-1", "reports")[-1].faults == {"inference_failed": 2}
    assert simulation.ticks == 10
    batch = of(results, "car-1", "batches")[0]
    assert not any(path.startswith("Perception.") for path in batch.columns)
    assert np.all(batch.columns["Vehicle.Speed"].values >= 0)


def test_a_folder_that_is_no_model_is_refused(models: OnnxModels, tmp_path: Path) -> None:
    write_model(tmp_path, SCHEMA, NEVER)
    (tmp_path / "head.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelUnusableError, match=r"head\.onnx"):
        models.load(tmp_path)

"""A run's folder: locked while it lives, an error that names the field, and a result that is there or not."""

import fcntl
import json
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
import yaml
from tests.unit.perception.nets import RECIPE, SCHEMA, red_squares

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from perception.job import main


def folder_with(tmp_path: Path, **changes: object) -> Path:
    samples = red_squares(80, 1)
    answers = [
        json.dumps({"sign": {"is_sign": 1, "applies": 1} if name == "plain" else {"is_sign": 0}})
        for name in samples.slices
    ]
    table = pa.table(
        {
            "sample_id": [str(row) for row in range(80)],
            "frames": pa.array([frames.tobytes() for frames in samples.frames], pa.large_binary()),
            "frames_shape": [list(samples.frames.shape[1:])] * 80,
            "answers": answers,
            "choice": list(samples.slices),
            "slice": list(samples.slices),
            "trigger": [""] * 80,
        }
    )
    lance.write_dataset(table, str(tmp_path / "set.lance")).tags.create("v1", 1)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(RECIPE.model_dump_json())))
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(json.loads(SCHEMA.model_dump_json())))
    version = {"table": str(tmp_path / "set.lance"), "tag": "v1", "version": "v1"}
    request = {
        "run_id": "run-1", "recipe": str(tmp_path / "recipe.yaml"), "schema": str(tmp_path / "tasks.yaml"), "seed": 1,
        "dataset": version, "test_set": version, "parent": None,
    }  # fmt: skip
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "request.json").write_text(json.dumps(request | changes))
    return folder


def result_of(folder: Path) -> dict[str, object]:
    assert main(["--run-dir", str(folder)]) == 0
    result: dict[str, object] = json.loads((folder / "result.json").read_text())
    return result


def test_a_run_leaves_a_model_its_figures_and_its_progress(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    result = result_of(folder)
    assert result["passed"] is True, result
    files = result["files"]
    assert isinstance(files, dict)
    contents = {name: (folder / files[name]).read_bytes() for name in VEHICLE_FILES}
    assert result["model_digest"] == artifact_digest({name: sha256_hex(data) for name, data in contents.items()})
    stages = [json.loads(line)["stage"] for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(stages)) == ["read", "train", "evaluate", "export", "examine", "done"]
    assert (folder / files["report.html"]).read_text().startswith("<!doctype html>")
    card = json.loads(contents["card.json"])
    assert card["schema_version"] == SCHEMA.version and card["seed"] == 1 and card["parent"] is None
    assert (folder / "heartbeat").exists()
    before = (folder / "result.json").stat().st_mtime_ns
    assert main(["--run-dir", str(folder)]) == 0  # started once more: nothing to do
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_a_later_model_passes_every_gate_against_its_parent(tmp_path: Path) -> None:
    first = folder_with(tmp_path)
    assert gates_of(result_of(first)) == ["slices", "budget"], "there is nothing to be compared with"
    later = tmp_path / "later"
    later.mkdir()
    request = json.loads((first / "request.json").read_text())
    (later / "request.json").write_text(json.dumps({**request, "parent": str(first / "model"), "seed": 2}))
    result = result_of(later)
    assert gates_of(result) == ["slices", "budget", "cases", "calibration", "robustness"]
    assert result["passed"] is False, "it gained nothing"
    assert str(result["reasons"][0]).startswith("Refused by slices: Nothing improved in the rare slices")  # type: ignore[index]


def gates_of(result: dict[str, object]) -> list[str]:
    gates = result["gates"]
    assert isinstance(gates, list)
    return [gate["name"] for gate in gates]


def test_a_budget_that_is_too_small_refuses_the_model(tmp_path: Path) -> None:
    (tmp_path / "vehicle.yaml").write_text("files_mb: 0.001\n")
    result = result_of(folder_with(tmp_path, vehicle=str(tmp_path / "vehicle.yaml")))
    assert result["passed"] is False
    assert str(result["reasons"][0]).startswith("Refused by budget: Too much: its files have ")  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": "many"}, "seed"),
        ({"recipe": "/nowhere.yaml"}, "recipe"),
        ({"examination": "/nowhere.yaml"}, "/nowhere.yaml: cannot be read"),
        ({"schema": "/nowhere.yaml"}, "/nowhere.yaml"),
        ({"dataset": {"table": "x", "tag": "v1"}}, "dataset.version"),
        ({"test_set": {"table": "/none.lance", "tag": "v1", "version": "v1"}}, "/none.lance"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_damaged_request_is_a_result_that_names_the_field(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    assert said in str(result_of(folder_with(tmp_path, **changes))["error"])


def test_a_request_that_is_no_json_is_a_result(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"run_id": ')
    assert "JSON" in str(result_of(tmp_path)["error"])


def test_a_held_lock_keeps_a_second_job_out(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["--run-dir", str(folder)]) == 75
    assert not (folder / "result.json").exists()
    assert np.all([not (folder / name).exists() for name in ("progress.jsonl", "model")])

"""`fleetloop datasets retract`, `readmit` and `status`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetloop.api.datasets import used_rows
from fleetloop.cli import app
from fleetloop.commands import datasets
from fleetloop.errors import UserError
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.training.v1 import training_pb2

Rows = dataset_pb2.RowSelector


def typed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["datasets", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def run(
    run_id: str, version: str, model: str = "", parent: str = "", dataset: str = "town"
) -> training_pb2.RunChanged:
    return training_pb2.RunChanged(
        run_id=run_id, dataset=dataset, dataset_version=version, model_digest=model, parent_model_digest=parent,
        state=training_pb2.RUN_STATE_EVALUATED,
    )  # fmt: skip


def test_the_runs_on_versions_with_the_rows_used_them_and_those_that_began_from_their_models() -> None:
    runs = [
        run("before", "v1", "a"),
        run("first", "v2", "b", "a"),
        run("failed", "v3"),
        run("later", "v9", "c", "a"),
        run("inherits", "v4", "d", "b"),
        run("inherits too", "v10", "e", "d"),
        run("elsewhere", "v2", "f", "", "village"),
    ]
    found = [each.run_id for each in used_rows(runs, "town", "v2", "v4")]
    assert found == ["first", "failed", "inherits", "inherits too"]


def answer() -> dataset_pb2.RetractRowsResponse:
    retraction = dataset_pb2.Retraction(first_version="v5", removed_by_slice={"night": 3, "no slice": 37})
    committed = dataset_pb2.DatasetCommitted(version="v8", samples=120, changed=40, retraction=retraction)
    return dataset_pb2.RetractRowsResponse(committed=committed, discarded_waiting=2)


def test_a_retraction_prints_what_was_removed_and_which_models_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Rows, str]] = []

    def retract(folder: Path, name: str, rows: Rows, reason: str) -> dataset_pb2.RetractRowsResponse:
        asked.append((name, rows, reason))
        return answer()

    monkeypatch.setattr(datasets, "retract_rows", retract)
    monkeypatch.setattr(datasets, "runs_that_used", lambda *_: [run("run-7", "v6", "b" * 64, "a" * 64)])
    printed = typed("retract", "town", "--vehicle", "car-7", "--reason", "forged")
    assert asked == [("town", Rows(vehicle_id="car-7"), "forged")]
    assert "town v8: 120 samples, 40 removed (night: 3, no slice: 37)" in printed
    assert "2 samples that waited for a commit were discarded" in printed
    assert "1 training run used them:" in printed
    assert "run-7  town v6, begun from model aaaaaaaaaaaa: evaluated, model bbbbbbbbbbbb" in printed
    assert "New samples of vehicle car-7 are refused; `fleetloop datasets readmit` ends that." in printed


def test_what_cannot_be_found_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> list[training_pb2.RunChanged]:
        raise UserError("training_orchestrator does not answer.", "See its log.")

    monkeypatch.setattr(datasets, "runs_that_used", away)
    text = datasets.used_by(Path(), "town", "v5", "v8")
    assert text.startswith("Which runs used them is not known: training_orchestrator does not answer. See its log.")
    monkeypatch.setattr(datasets, "runs_that_used", lambda *_: [])
    assert datasets.used_by(Path(), "town", "v5", "v8") == "No training run used them."


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (("--trigger", "flicker"), Rows(trigger="flicker")),
        (("--trigger", "flicker@2"), Rows(trigger="flicker", trigger_version=2)),
        (("--trigger", "flicker@v2"), Rows(trigger="flicker", trigger_version=2)),
        (("--clip", "c" * 64), Rows(clip_id="c" * 64)),
        (("--source", "hindsight"), Rows(label_source="hindsight")),
    ],
)
def test_an_origin_is_named_once(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], rows: Rows) -> None:
    rule = dataset_pb2.RetractionRule(rows=rows, readmitted_at_utc_ns=10**18)
    asked: list[Rows] = []

    def readmit(folder: Path, name: str, given: Rows) -> dataset_pb2.RetractionRule:
        asked.append(given)
        return rule

    monkeypatch.setattr(datasets, "readmit_rows", readmit)
    assert "that are detected after 2001-09-09 01:46:40 UTC" in typed("readmit", "town", *arguments)
    assert asked == [rows]


@pytest.mark.parametrize("arguments", [(), ("--vehicle", "a", "--clip", "b"), ("--trigger", "flicker@two")])
def test_an_origin_that_is_not_clear_is_refused_before_anything_is_asked(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UserError):
        typed("retract", "town", "--reason", "r", *arguments)


def test_the_state_of_datasets_lists_retractions_with_their_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = dataset_pb2.RetractionRule(
        rows=Rows(vehicle_id="car-7"), version="v8", first_version="v5", retracted_by="user/ann", reason="forged",
        retracted_at_utc_ns=10**18,
    )  # fmt: skip
    held = dataset_pb2.HeldSamples(vehicle_id="car-9", held=12, samples=100)
    state = dataset_pb2.DatasetCuration(
        dataset="town", waiting=3, retractions=[rule], held=[held], vehicle_samples=180, most_of_a_vehicle=100
    )
    monkeypatch.setattr(datasets, "curation", lambda *_: [state])
    monkeypatch.setattr(datasets, "runs_that_used", lambda *_: [])
    printed = typed("status")
    assert "town: 3 labelled samples wait for a commit" in printed
    assert "12 more of vehicle car-9 wait until others have caught up:" in printed
    assert "it has 100 of 180 samples from vehicles, and may have 100" in printed
    assert "vehicle car-7: refused" in printed
    assert "retracted 2001-09-09 01:46 by user/ann (v8): forged" in printed
    assert "No training run used them." in printed

"""Runs as they are kept and announced, and what other services announce."""

from __future__ import annotations

import pytest

from fleetloop.domain.run_folder import Metric
from fleetloop.domain.topics import MODEL
from fleetloop.kit.messaging.producer import Record
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from training_orchestrator.codec import model_change_in, model_change_of, run_bytes, run_event, run_from, run_message
from training_orchestrator.model import ModelStage, Run, State, Verdict

METRIC = Metric(task="stop_sign", slice="rare", name="recall", value=0.5, low=0.25, high=0.75, samples=8)
RUN = Run(
    run_id="run-1", state=State.EVALUATED, dataset="town", dataset_version="v2", test_set="town-test",
    test_set_version="v1", recipe="turn.yaml", parent_digest="a" * 64, seed=7, why="new samples",
    earliest_detected_at_utc_ns=1, latest_detected_at_utc_ns=2, changed_at_utc_ns=3, verdict=Verdict.PASSED,
    reasons=("better",), metrics=(METRIC,), parent_metrics=(METRIC, METRIC), model_digest="b" * 64,
    artifact_address="artifacts", evaluation_address="evaluation", started_by="user/ann",
)  # fmt: skip


def test_a_run_is_kept_with_every_field() -> None:
    assert run_from(run_bytes(RUN)) == RUN


def test_every_field_of_the_message_is_set() -> None:
    names = {field.name for field, _ in run_message(RUN).ListFields()}
    assert names == set(training_pb2.RunChanged.DESCRIPTOR.fields_by_name)


def test_the_event_of_a_run_depends_on_the_run_and_its_state() -> None:
    event = run_event(RUN)
    assert event.key == "run-1"
    assert event.event_id == run_event(run_from(run_bytes(RUN))).event_id
    assert training_pb2.RunChanged.FromString(event.payload).event_id == event.event_id


@pytest.mark.parametrize("stage", list(ModelStage))
def test_the_stored_stages_are_those_of_the_rollout(stage: ModelStage) -> None:
    assert rollout_pb2.ModelStage.Name(stage.value) == f"MODEL_STAGE_{stage.name}"  # type: ignore[arg-type]


def test_every_stage_of_the_rollout_is_known() -> None:
    assert {stage.value for stage in ModelStage} == set(rollout_pb2.ModelStage.values())


def test_a_change_is_read_and_an_unknown_stage_is_unspecified() -> None:
    changed = rollout_pb2.ModelChanged(
        model_digest="d" * 64, stage=rollout_pb2.MODEL_STAGE_CANARY, sequence=4, previous_model_digest="e" * 64,
        artifact_address="a",
    )  # fmt: skip
    record = Record(MODEL, 0, 0, b"", changed.SerializeToString(), [], 0)
    change = model_change_in(record)
    assert (change.digest, change.stage, change.sequence) == ("d" * 64, ModelStage.CANARY, 4)
    assert (change.previous, change.artifact_address) == ("e" * 64, "a")
    unknown = rollout_pb2.ModelChanged.FromString(changed.SerializeToString() + bytes([4 << 3, 99]))
    assert model_change_of(unknown).stage is ModelStage.UNSPECIFIED

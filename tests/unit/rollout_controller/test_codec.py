"""Reports as they come in, and changes as they are kept."""

from __future__ import annotations

import pytest

from fleetloop.domain.topics import HEALTH, TRAINING
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller.codec import change_bytes, change_from, change_of, passed_run, passed_run_in, report_of
from rollout_controller.model import Assignment, Cohort, Decisions, Report, Stage

CANDIDATE, RELEASED = "c" * 64, "a" * 64
S = 10**9


def report_record(**fields: object) -> Record:
    known: dict[str, object] = {"vehicle_id": "car", "boot_id": b"12345678"}
    message = health_pb2.VehicleReport(**known | fields)  # type: ignore[arg-type]
    return Record(HEALTH, 0, 0, b"car", message.SerializeToString(), [], 0)


def test_a_report_is_read_with_what_its_vehicle_ran_and_did() -> None:
    found = report_of(
        report_record(
            sequence=7,
            start_utc_ns=10 * S,
            end_utc_ns=70 * S,
            model_digest=RELEASED,
            shadow_model_digest=CANDIDATE,
            rollout_id="r",
            cohort=health_pb2.COHORT_SHADOW,
            autopilot_km=1.5,
            interventions=2,
            overrides=3,
            shadow_decisions=20,
            shadow_would_have_prevented=1,
            shadow_would_have_avoided=2,
            shadow_would_have_missed=4,
            shadow_false_alarms=5,
            inference_p99_ms=9,
            conditions="night",
        )
    )
    assert found == Report(
        vehicle_id="car", boot=b"12345678", sequence=7, end_utc_ns=70 * S, window_s=60.0,
        assignment=Assignment(RELEASED, CANDIDATE, "r", Cohort.SHADOW), km=1.5, interventions=5,
        decisions=Decisions(20, 1, 2, 4, 5), faults=0, unusable=False, inference_p99_ms=9, conditions="night",
    )  # fmt: skip
    assert (found.decisions.better, found.decisions.worse, found.decisions.equal) == (3, 9, 8)


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        ("inference_failed", True),
        ("shadow_inference_failed", True),
        ("values_out_of_range", True),
        ("model_refused", False),
        ("update_failed", False),
        ("spool_full", False),
        ("clip_gone", False),
    ],
)
def test_only_faults_of_a_model_count_against_it(fault: str, counts: bool) -> None:
    found = report_of(report_record(faults={fault: 7}))
    assert (found.faults, found.unusable) == (7 if counts else 0, False)
    assert report_of(report_record(faults={"model_unusable": 1})).unusable


def run_record(**fields: object) -> Record:
    run = training_pb2.RunChanged(**fields)  # type: ignore[arg-type]
    return Record(TRAINING, 0, 0, b"", run.SerializeToString(), [], 0)


PASSED = {"state": training_pb2.RUN_STATE_EVALUATED, "verdict": training_pb2.VERDICT_PASSED}


def test_only_a_run_that_passed_brings_a_model() -> None:
    model = {"model_digest": CANDIDATE, "artifact_address": "a"}
    found = passed_run_in(run_record(**PASSED, **model, reasons=["better"]))
    assert found is not None
    assert (found.model_digest, found.artifact_address, found.reasons) == (CANDIDATE, "a", ("better",))
    assert passed_run_in(run_record(**PASSED | {"verdict": training_pb2.VERDICT_REJECTED}, **model)) is None
    assert passed_run_in(run_record(**PASSED | {"state": training_pb2.RUN_STATE_RUNNING}, **model)) is None
    for name in model:
        with pytest.raises(UnreadableMessageError, match=f"{name}: is empty in a run that passed"):
            passed_run_in(run_record(**PASSED, **model | {name: ""}))


def test_a_change_is_kept_with_every_field() -> None:
    run = training_pb2.RunChanged(
        model_digest=CANDIDATE, artifact_address="a", dataset="town", dataset_version="v3", run_id="run-1",
        latest_detected_at_utc_ns=9, earliest_detected_at_utc_ns=4,
    )  # fmt: skip
    change = change_of(
        passed_run(run), number=2, stage=Stage.CANARY, canary_percent=10, rollout_id="r", previous=RELEASED,
        reasons=["enough"], sequence=5, now_utc_ns=11,
    )  # fmt: skip
    assert change_from(change_bytes(change)) == change
    assert (change.model_version, change.dataset, change.latest_detected_at_utc_ns) == ("model-2", "town", 9)

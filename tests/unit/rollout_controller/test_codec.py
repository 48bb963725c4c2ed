"""What the monitor's sums say for and against one candidate, and changes as they are kept."""

from __future__ import annotations

import pytest

from fleetloop.domain.topics import TRAINING
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller.codec import change_bytes, change_from, change_of, evidence_of, passed_run, passed_run_in
from rollout_controller.model import Stage, Totals

CANDIDATE, RELEASED = "c" * 64, "a" * 64


def totals(model: str, shadow: str = "", **sums: float) -> monitor_pb2.CohortTotals:
    return monitor_pb2.CohortTotals(model_digest=model, shadow_model_digest=shadow, **sums)  # type: ignore[arg-type]


def test_each_cohort_is_told_by_what_its_vehicles_run() -> None:
    response = monitor_pb2.CompareCohortsResponse(
        cohorts=[
            totals(RELEASED, CANDIDATE, autopilot_km=1, shadow_frames=10, shadow_would_have_prevented=2),
            totals(CANDIDATE, autopilot_km=2, interventions=3),
            totals(RELEASED, autopilot_km=4, interventions=5),
            totals("", autopilot_km=8),
        ]
    )
    evidence = evidence_of(response, CANDIDATE)
    assert evidence.shadow == Totals(km=1, shadow_frames=10, would_have_prevented=2)
    assert evidence.canary == Totals(km=2, interventions=3)
    assert evidence.control == Totals(km=12, interventions=5), "a vehicle that shadows the candidate is no control"


def test_sums_are_added_up_and_the_slowest_inference_counts() -> None:
    rows = [
        totals(CANDIDATE, autopilot_km=2, interventions=1, shadow_false_alarms=3, inference_p99_ms_max=20),
        totals(CANDIDATE, autopilot_km=3, interventions=4, shadow_false_alarms=5, inference_p99_ms_max=70),
        totals(CANDIDATE, inference_p99_ms_max=30),
    ]
    canary = evidence_of(monitor_pb2.CompareCohortsResponse(cohorts=rows), CANDIDATE).canary
    assert canary == Totals(km=5, interventions=5, false_alarms=8, inference_p99_ms=70)


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        ("inference_failed", True),
        ("shadow_inference_failed", True),
        ("model_refused", True),
        ("values_out_of_range", True),
        ("spool_full", False),
        ("clip_gone", False),
    ],
)
def test_only_faults_of_a_model_count_against_it(fault: str, counts: bool) -> None:
    row = totals(CANDIDATE)
    row.faults[fault] = 7
    row.cohort = health_pb2.COHORT_CANARY
    found = evidence_of(monitor_pb2.CompareCohortsResponse(cohorts=[row]), CANDIDATE)
    assert found.canary.faults == (7 if counts else 0)


def test_no_report_is_no_evidence() -> None:
    evidence = evidence_of(monitor_pb2.CompareCohortsResponse(), CANDIDATE)
    assert (evidence.shadow, evidence.canary, evidence.control) == (Totals(), Totals(), Totals())


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

"""The figures that the README quotes: rates, lead times, and which vehicles and versions they count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from fleetloop.demo.loop_client import LoopState
from fleetloop.demo.results import Rate, recalls, turn_of
from fleetloop.demo.vehicles import DriveResult, VehicleDrive
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2

S = 10**9
OLD, NEW = "a" * 64, "b" * 64


def committed(
    folder: Path, version: str, rows: list[tuple[str, int, int, str]], samples: int
) -> dataset_pb2.DatasetCommitted:
    """A version whose table holds `rows`: (sample, detected at s, labelled at s, label source)."""
    names = ("sample_id", "detected_at_utc_ns", "labelled_at_utc_ns", "label_source")
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    table = pa.table(
        {
            names[0]: pa.array(columns[0], pa.string()),
            names[1]: pa.array([each * S for each in columns[1]], pa.int64()),
            names[2]: pa.array([each * S for each in columns[2]], pa.int64()),
            names[3]: pa.array(columns[3], pa.string()),
        }
    )
    address = folder / f"{version}.lance"
    written = lance.write_dataset(table, str(address))
    written.tags.create(version, written.version)
    return dataset_pb2.DatasetCommitted(
        dataset="town",
        version=version,
        samples=samples,
        added=len(rows),
        added_sample_ids=[row[0] for row in rows],
        table_address=str(address),
        lance_tag=version,
        committed_at_utc_ns=140 * S,
        by_trigger=[dataset_pb2.TriggerCount(trigger="flicker", version=2, samples=len(rows))],
        refused={"near_duplicate": 1},
    )


def evaluated(
    version: str, model: str, parent: str, verdict: training_pb2.Verdict.ValueType
) -> training_pb2.RunChanged:
    metric = training_pb2.Metric(task="stop_sign", name="recall", slice="rare", value=0.7, low=0.6, high=0.8)
    other = training_pb2.Metric(task="stop_sign", name="precision", slice="rare", value=0.1)
    before = training_pb2.Metric(task="stop_sign", name="recall", slice="rare", value=0.4, low=0.3, high=0.5)
    return training_pb2.RunChanged(
        run_id=f"run-{version}",
        state=training_pb2.RUN_STATE_EVALUATED,
        verdict=verdict,
        dataset="town",
        dataset_version=version,
        model_digest=model,
        parent_model_digest=parent,
        reasons=["rare slices improved"],
        metrics=[other, metric],
        parent_metrics=[before],
    )


def drive(**vehicles: tuple[str, float, int]) -> DriveResult:
    """A drive of vehicles: (model at the end, autopilot km, interventions)."""
    each = {name: VehicleDrive(km, count, model) for name, (model, km, count) in vehicles.items()}
    return DriveResult("phase", 180.0, 99.0, 88.0, 77, 1000, each)


@pytest.fixture
def released(tmp_path: Path) -> LoopState:
    """The newest turn's run compiled v3, the one before it v1; v2 and v3 are new. The model reached the last
    vehicle.
    """
    v1 = committed(tmp_path, "v1", [("old", 1, 1, "imported")], 100)
    v2 = committed(tmp_path, "v2", [("s1", 100, 110, "human")], 101)
    v3 = committed(tmp_path, "v3", [("s2", 104, 110, "hindsight"), ("s3", 108, 110, "human")], 103)
    v3.committed_at_utc_ns = 150 * S
    test_set = dataset_pb2.DatasetCommitted(dataset="town-test", version="v1", frozen=True)
    runs = [
        training_pb2.RunChanged(run_id="queued", state=training_pb2.RUN_STATE_QUEUED, dataset="town"),
        evaluated("v3", NEW, OLD, training_pb2.VERDICT_PASSED),
        evaluated("v1", OLD, "", training_pb2.VERDICT_PASSED),
    ]
    rollout = rollout_pb2.Rollout(
        model_digest=NEW,
        state=rollout_pb2.ROLLOUT_STATE_COMPLETED,
        reasons=["fewer interventions"],
        last_attested_at_utc_ns=260 * S,
    )
    model = rollout_pb2.ModelChanged(model_digest=NEW, model_version="model-2", changed_at_utc_ns=240 * S)
    return LoopState({}, 0, 0, [test_set, v3, v2, v1], runs, [model], [rollout])


BEFORE = drive(one=(OLD, 10.0, 8), two=(OLD, 20.0, 4))
AFTER = drive(one=(NEW, 11.0, 2), two=(NEW, 21.0, 1))


def test_a_released_turn_counts_every_version_since_the_run_before_it(released: LoopState) -> None:
    turn = turn_of(released, BEFORE, AFTER)
    assert (turn.outcome, turn.model_version, turn.dataset_version) == ("released", "model-2", "v3")
    assert (turn.added, turn.samples) == (3, 103)
    assert turn.by_trigger == {"flicker v2": 3}
    assert turn.labels_by_source == {"human": 2, "hindsight": 1}
    assert turn.refused == {"near_duplicate": 2}
    assert turn.reasons == ["rare slices improved", "fewer interventions"]


def test_a_turn_has_the_recall_of_its_model_and_of_the_model_before(released: LoopState) -> None:
    turn = turn_of(released, BEFORE, AFTER)
    assert turn.recall_before == {"rare": pytest.approx((0.4, 0.3, 0.5))}
    assert turn.recall_after == {"rare": pytest.approx((0.7, 0.6, 0.8))}


def test_rates_add_up_the_same_vehicles_before_and_after(released: LoopState) -> None:
    turn = turn_of(released, BEFORE, AFTER)
    assert turn.before == Rate(12, 30.0, 2)
    assert turn.after == Rate(3, 32.0, 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BEFORE, drive(one=(NEW, 11.0, 2), two=(OLD, 21.0, 1))),  # did not get the new model
        (drive(one=(OLD, 10.0, 8), two=(NEW, 20.0, 4)), AFTER),  # had it before
    ],
)
def test_a_vehicle_that_changed_models_within_a_drive_is_left_out_of_both(
    released: LoopState, before: DriveResult, after: DriveResult
) -> None:
    turn = turn_of(released, before, after)
    assert turn.before == Rate(8, 10.0, 1)
    assert turn.after == Rate(2, 11.0, 1)


def test_lead_times_are_medians_over_the_added_samples(released: LoopState) -> None:
    lead = turn_of(released, BEFORE, AFTER).lead_time
    assert lead is not None
    # Detected at 100, 104 and 108 s; labelled at 110 s; committed at 150, published at 240, attested at 260.
    assert (lead.label, lead.dataset, lead.model, lead.last_vehicle) == (6.0, 46.0, 136.0, 156.0)


def test_a_model_that_was_rolled_back_reached_no_last_vehicle_and_the_old_one_drove(released: LoopState) -> None:
    released.rollouts[0].state = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
    turn = turn_of(released, BEFORE, drive(one=(OLD, 11.0, 2), two=(NEW, 21.0, 1)))
    assert turn.outcome == "rolled_back"
    assert turn.after == Rate(2, 11.0, 1)
    assert turn.lead_time is not None
    assert turn.lead_time.last_vehicle is None


def test_a_model_that_not_every_vehicle_attested_has_no_time_of_the_last_vehicle(released: LoopState) -> None:
    released.rollouts[0].last_attested_at_utc_ns = 0
    lead = turn_of(released, BEFORE, AFTER).lead_time
    assert lead is not None
    assert lead.last_vehicle is None


def test_a_rejected_model_has_no_rollout_and_no_lead_time(released: LoopState) -> None:
    state = replace(released, models=[], rollouts=[])
    state.runs[1].verdict = training_pb2.VERDICT_REJECTED
    turn = turn_of(state, BEFORE, drive(one=(OLD, 11.0, 2), two=(OLD, 21.0, 1)))
    assert (turn.outcome, turn.model_version, turn.lead_time) == ("rejected", "", None)
    assert turn.reasons == ["rare slices improved"]
    assert turn.after.vehicles == 2


def test_a_turn_without_new_samples_has_no_lead_time(released: LoopState) -> None:
    for version in released.versions[1:3]:
        del version.added_sample_ids[:]
    assert turn_of(released, BEFORE, AFTER).lead_time is None


def test_recalls_are_those_of_one_task() -> None:
    metrics = [
        training_pb2.Metric(task="stop_sign", name="recall", slice="all", value=0.5, low=0.4, high=0.6),
        training_pb2.Metric(task="traffic_light", name="recall", slice="all", value=0.9),
    ]
    assert recalls(metrics) == {"all": pytest.approx((0.5, 0.4, 0.6))}


def test_a_rate_without_distance_has_no_upper_bound() -> None:
    assert Rate(0, 0.0, 0).per_100km() == (0.0, 0.0, float("inf"))


def test_a_rate_is_per_hundred_kilometres() -> None:
    value, low, high = Rate(50, 40.0, 24).per_100km()
    assert value == pytest.approx(125.0)
    # Exact Poisson limits of 50 events: 37.11 and 65.92, in 0.4 hundreds of kilometres.
    assert low == pytest.approx(92.78, abs=0.01)
    assert high == pytest.approx(164.8, abs=0.01)

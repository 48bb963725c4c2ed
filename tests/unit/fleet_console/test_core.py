"""From what the services said to what the page shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet_console.core import driven_models, staircase, view
from fleet_console.model import Counts, Facts, Tone
from fleet_console.rates import counts_of
from fleetloop.protos.archive.v1 import archive_pb2
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.route.v1 import route_pb2
from fleetloop.protos.training.v1 import training_pb2

S = 10**9
NOW = 1_000_000 * S


def recall(slice_name: str, value: float, task: str = "stop_sign") -> training_pb2.Metric:
    return training_pb2.Metric(
        task=task, slice=slice_name, name="recall", value=value, low=value - 0.1, high=value + 0.1, samples=9
    )


def run(number: int, *metrics: training_pb2.Metric, passed: bool = True) -> training_pb2.RunChanged:
    return training_pb2.RunChanged(
        run_id=f"run-{number}-abc", state=training_pb2.RUN_STATE_EVALUATED, model_digest=f"d{number}",
        metrics=metrics,
        verdict=training_pb2.VERDICT_PASSED if passed else training_pb2.VERDICT_REJECTED,
        dataset="town", dataset_version="v2", changed_at_utc_ns=NOW - 5 * S, reasons=["Rare slices improved."],
    )  # fmt: skip


PEERS = (
    "telemetry_archiver", "campaign_keeper", "label_router", "label_desk", "dataset_curator", "training_orchestrator",
    "rollout_controller", "fleet_monitor",
)  # fmt: skip


def full_facts() -> Facts:
    vehicles = [
        monitor_pb2.VehicleState(
            vehicle_id=f"v{number}", model_digest="d1" if number < 3 else "d2", seen_at_utc_ns=NOW - number * S,
            shadow_model_digest="d3" if number == 0 else "",
        )
        for number in range(4)
    ]  # fmt: skip
    return Facts(
        heard=frozenset(PEERS),
        archive=archive_pb2.GetArchiveResponse(vehicles=[archive_pb2.ArchivedVehicle(vehicle_id="v0", frames=1200)]),
        ledger=campaign_pb2.GetLedgerResponse(
            earnings=[
                campaign_pb2.TriggerEarnings(campaign="c", trigger="hard_braking", version=1, fired=5),
                campaign_pb2.TriggerEarnings(
                    campaign="c", trigger="flicker", version=2, fired=9, clips=7, clip_bytes=2**20, tasks=6,
                    labelled=5, kept=4, dropped={"duplicate_place": 2, "boring": 1},
                ),
            ]
        ),
        firings=route_pb2.CountFiringsResponse(
            counts=[
                route_pb2.FiringCount(trigger="flicker", decision=route_pb2.ROUTE_DECISION_CLIP_WANTED, firings=2),
                route_pb2.FiringCount(trigger="flicker", decision=route_pb2.ROUTE_DECISION_ROUTED, firings=6),
            ]
        ),
        progress=label_pb2.GetProgressResponse(
            projects=[
                label_pb2.ProjectProgress(
                    project="p", open=3, leased=1, ended={"agreed": 4, "disputed": 1}, oldest_open_s=75,
                    by_source={"human": 4, "hindsight": 1},
                )
            ]
        ),
        versions=dataset_pb2.ListVersionsResponse(
            versions=[
                dataset_pb2.DatasetCommitted(
                    dataset="town", version="v2", samples=700, added=100, refused={"near_duplicate": 2},
                    by_trigger=[
                        dataset_pb2.TriggerCount(trigger="flicker", version=1, samples=60),
                        dataset_pb2.TriggerCount(trigger="flicker", version=2, samples=40),
                    ],
                    committed_at_utc_ns=NOW - 60 * S,
                ),
                dataset_pb2.DatasetCommitted(
                    dataset="town-test", version="v1", samples=90, frozen=True, committed_at_utc_ns=NOW - 10 * S
                ),
            ]
        ),
        runs=training_pb2.ListRunsResponse(runs=[run(2, recall("rare", 0.8)), run(1, recall("rare", 0.5))]),
        models=rollout_pb2.ListModelsResponse(
            models=[
                rollout_pb2.ModelChanged(
                    model_digest="d1", model_version="model-1", stage=rollout_pb2.MODEL_STAGE_RELEASED
                ),
                rollout_pb2.ModelChanged(
                    model_digest="d2", model_version="model-2", stage=rollout_pb2.MODEL_STAGE_CANARY
                ),
            ]
        ),
        rollouts=rollout_pb2.ListRolloutsResponse(
            rollouts=[
                rollout_pb2.Rollout(
                    rollout_id="r", model_digest="d2", state=rollout_pb2.ROLLOUT_STATE_RUNNING,
                    stage=rollout_pb2.MODEL_STAGE_CANARY, canary_percent=25, vehicles=["v3"], attested=1,
                )
            ]
        ),
        vehicles=monitor_pb2.ListVehiclesResponse(vehicles=vehicles),
        cohorts=monitor_pb2.CompareCohortsResponse(
            cohorts=[
                monitor_pb2.CohortTotals(model_digest="d1", autopilot_km=30, interventions=2),
                monitor_pb2.CohortTotals(model_digest="d1", autopilot_km=20, interventions=1),
            ]
        ),
    )  # fmt: skip


def test_the_stages_are_in_the_order_of_the_loop() -> None:
    facts = full_facts()
    earlier = Counts(0, frames=200, fired=14, clips=7, labels=4)
    shown = {stage.name: stage for stage in view(facts, earlier, counts_of(facts, 10 * S), NOW).stages}
    assert list(shown) == [
        "Telemetry", "Triggers", "Clips", "Label tasks", "Labels", "Dataset", "Training", "On the road",
    ]  # fmt: skip
    assert (shown["Telemetry"].figure, shown["Telemetry"].rate) == ("1,200", "100 frames/s")
    assert (shown["Triggers"].figure, shown["Triggers"].rate) == ("14", "0 firings/min")
    assert (shown["Labels"].figure, shown["Labels"].rate) == ("5", "6.0 labels/min")
    assert shown["Labels"].note == "4 by people, 1 by hindsight"
    assert (shown["Label tasks"].figure, shown["Label tasks"].note) == ("3", "oldest waits 1 min 15 s")
    assert (shown["Dataset"].figure, shown["Dataset"].note) == ("v2", "700 samples, 100 new"), (
        "frozen sets do not grow"
    )
    assert (shown["Training"].figure, shown["Training"].tone) == ("passed", Tone.GOOD)
    assert (shown["On the road"].figure, shown["On the road"].rate) == ("model-1", "model-2 canary")
    assert shown["On the road"].note == "drives 3 of 4 vehicles"


def test_before_anything_happened_every_stage_still_says_something() -> None:
    heard = frozenset(PEERS) - {"label_desk"}
    facts = Facts(away={"label_desk": "it does not answer"}, heard=heard)
    shown = view(facts, None, counts_of(facts, 0), NOW)
    assert all(stage.figure and stage.name for stage in shown.stages)
    assert [stage.name for stage in shown.stages if stage.away] == ["Label tasks", "Labels"]
    assert [stage.figure for stage in shown.stages if stage.figure == "–"] == ["–", "–"], "no uncounted zero"
    assert not shown.models
    assert not shown.staircase.models
    assert shown.fleet_note == "No vehicle has reported yet."


def test_vehicles_are_grouped_by_the_model_that_they_attest() -> None:
    first, second, third = driven_models(full_facts())
    assert (first.name, first.driving, first.share, first.km, first.interventions) == ("model-1", 3, 0.75, 50.0, 3)
    assert first.per_100km is not None
    value, low, high = first.per_100km
    assert value == pytest.approx(6.0)
    assert (low, high) == pytest.approx((1.237, 17.534), abs=0.01), (
        "the exact Poisson interval of 3 in half of 100 km"
    )
    assert (second.name, second.stage, second.per_100km) == ("model-2", "canary", None)
    assert (third.name, third.driving, third.shadowing) == ("d3", 0, 1)


def test_the_staircase_climbs_from_the_oldest_model_to_the_newest() -> None:
    runs = [
        run(3, recall("rare", 0.9), recall("leaves", 0.7), passed=False),
        training_pb2.RunChanged(run_id="run-x", state=training_pb2.RUN_STATE_RUNNING),
        run(2, recall("rare", 0.8), recall("present", 1.0, task="lead_vehicle")),
        run(1, recall("rare", 0.5)),
    ]
    found = staircase(runs, {"d1": "model-1", "d2": "model-2"})
    assert list(found.models) == ["model-1", "model-2", "run-3\nrejected"]
    assert [value and value[0] for value in found.slices["rare"]] == [0.5, 0.8, 0.9]
    assert [value and value[0] for value in found.slices["leaves"]] == [None, None, 0.7]
    assert list(found.slices) == ["rare", "leaves"]


def test_the_tables_say_what_each_trigger_earned_and_what_each_version_holds() -> None:
    facts = full_facts()
    shown = view(facts, None, counts_of(facts, 0), NOW)
    flicker = shown.triggers[0]
    assert (flicker["trigger"], flicker["fired"], flicker["waiting"], flicker["kept"]) == (
        "flicker v2",
        "9",
        "2",
        "4",
    )
    assert flicker["dropped"] == "2 duplicate place, 1 boring"
    assert [row["version"] for row in shown.versions] == ["town-test v1", "town v2"]
    assert (shown.versions[1]["from"], shown.versions[1]["refused"]) == ("100 flicker", "2 near duplicate")
    assert (shown.runs[0]["model"], shown.runs[0]["state"]) == ("model-2", "passed")
    assert (shown.rollouts[0]["stage"], shown.rollouts[0]["attested"]) == ("canary 25 %", "1 of 1")
    assert len({row["key"] for row in shown.triggers}) == len(shown.triggers)


def test_people_who_contradict_an_automatic_source_are_shown() -> None:
    found = label_pb2.GetAgreementResponse(
        sources=[
            label_pb2.Agreement(
                source=label_pb2.LABEL_SOURCE_HINDSIGHT, agreed=9, checked=10, low=0.456, high=0.9995, decides=True
            )
        ]
    )
    facts = replace(full_facts(), agreement=found)
    shown = {stage.name: stage for stage in view(facts, None, Counts(0), NOW).stages}["Labels"]
    assert shown.note == "4 by people, 1 by hindsight; people agree with 9 of 10 by hindsight (46% to 100%)"
    assert shown.tone is Tone.PLAIN
    found.sources[0].decides, found.contradicted_vehicles = False, 2
    shown = {stage.name: stage for stage in view(facts, None, Counts(0), NOW).stages}["Labels"]
    assert shown.note.endswith(": hindsight decides nothing; 2 vehicles without automatic labels")
    assert shown.tone is Tone.BAD

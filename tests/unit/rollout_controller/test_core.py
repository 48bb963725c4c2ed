from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.process.settings import SettingsError
from rollout_controller.core import assign, chosen_vehicles, must_sign_again, next_move, share_of
from rollout_controller.model import Cohort, Evidence, Position, RolloutPlan, Stage, Totals
from rollout_controller.settings import load_plan

PLAN = RolloutPlan(
    shadow_percent=25,
    shadow_frames=1000,
    shadow_false_alarms_per_1000=5,
    canary_percents=(10, 50),
    canary_km=20,
    worse_p=0.01,
    inference_p99_ms=100,
    faults=2,
    stage_max_s=3600,
)
S = 10**9
SHADOWING = Position(Stage.SHADOWING, 0, 0)
CANARY = Position(Stage.CANARY, 10, 0)
NOTHING = Evidence(Totals(), Totals(), Totals())


def test_a_rollout_waits_while_evidence_is_missing_and_then_gives_up() -> None:
    assert next_move(SHADOWING, PLAN, NOTHING, 3600 * S).stays
    move = next_move(SHADOWING, PLAN, NOTHING, 3601 * S)
    assert move.stage is Stage.ROLLED_BACK
    assert move.reasons[0] == "not enough evidence after 3601 s"


def test_a_good_shadow_becomes_the_first_canary() -> None:
    move = next_move(SHADOWING, PLAN, replace(NOTHING, shadow=Totals(shadow_frames=1000, false_alarms=5)), 1)
    assert (move.stage, move.canary_percent, move.stays) == (Stage.CANARY, 10, False)


def test_a_shadow_that_cries_wolf_comes_back() -> None:
    move = next_move(SHADOWING, PLAN, replace(NOTHING, shadow=Totals(shadow_frames=1000, false_alarms=6)), 1)
    assert move.stage is Stage.ROLLED_BACK
    assert "6.00 false stops per 1,000 shadow frames" in move.reasons[0]


def test_canary_goes_up_step_by_step_to_everybody() -> None:
    evidence = Evidence(Totals(), Totals(km=20, interventions=1), Totals(km=100, interventions=6))
    first = next_move(CANARY, PLAN, evidence, 1)
    assert (first.stage, first.canary_percent) == (Stage.CANARY, 50)
    half = replace(CANARY, canary_percent=50)
    assert next_move(half, PLAN, evidence, 1).stays, "the first stage's distance is no evidence for the second"
    more = replace(evidence, canary=Totals(km=40, interventions=2))
    assert next_move(half, PLAN, more, 1).stage is Stage.RELEASED


def test_a_canary_that_is_worse_comes_back_before_its_distance_is_driven() -> None:
    evidence = Evidence(Totals(), Totals(km=5, interventions=8), Totals(km=100, interventions=6))
    move = next_move(CANARY, PLAN, evidence, 1)
    assert move.stage is Stage.ROLLED_BACK
    assert "more frequent than with the released model" in move.reasons[0]


def test_a_canary_without_control_is_no_evidence() -> None:
    assert next_move(CANARY, PLAN, Evidence(Totals(), Totals(km=99), Totals()), 1).stays


@pytest.mark.parametrize("totals", [Totals(faults=3), Totals(inference_p99_ms=101)])
def test_faults_and_slowness_bring_it_back_at_any_stage(totals: Totals) -> None:
    assert next_move(SHADOWING, PLAN, replace(NOTHING, shadow=totals), 1).stage is Stage.ROLLED_BACK
    assert next_move(CANARY, PLAN, replace(NOTHING, canary=totals), 1).stage is Stage.ROLLED_BACK


VEHICLES = st.lists(st.text("abc123", min_size=1, max_size=5), unique=True, min_size=1, max_size=40)


@given(VEHICLES, st.integers(1, 100), st.integers(0, 99))
def test_a_larger_share_holds_every_smaller_one(vehicles: list[str], percent: int, less: int) -> None:
    larger, smaller = share_of(vehicles, "r", percent), share_of(vehicles, "r", min(less, percent))
    assert smaller <= larger
    assert len(larger) == -(-len(vehicles) * percent // 100)


@given(VEHICLES, st.sampled_from([None, SHADOWING, CANARY]))
def test_every_vehicle_drives_a_model_and_only_canaries_the_candidate(
    vehicles: list[str], standing: Position | None
) -> None:
    chosen = chosen_vehicles(vehicles, standing, "r", PLAN)
    assert bool(chosen) is (standing is not None)
    for vehicle in vehicles:
        given_to = assign(vehicle in chosen, standing, "r", "candidate", "released")
        assert given_to.active == ("candidate" if given_to.cohort is Cohort.CANARY else "released")
        assert given_to.shadow == ("candidate" if given_to.cohort is Cohort.SHADOW else "")
        if standing is None:
            assert given_to.cohort is Cohort.CONTROL


def test_the_shipped_plan_is_read_and_a_wrong_one_names_its_field(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config" / "rollout.yaml"
    assert load_plan(shipped).canary_percents
    wrong = tmp_path / "rollout.yaml"
    wrong.write_text(shipped.read_text().replace("worse_p: 0.01", "worse_p: 2"))
    with pytest.raises(SettingsError, match="worse_p: Input should be less than 1"):
        load_plan(wrong)


@pytest.mark.parametrize("percents", ["[0, 50]", "[50, 150]", "[50, 25]", "[25, 25]"])
def test_canary_shares_have_to_rise(percents: str, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config" / "rollout.yaml"
    wrong = tmp_path / "rollout.yaml"
    wrong.write_text(shipped.read_text().replace("canary_percents: [25]", f"canary_percents: {percents}"))
    with pytest.raises(SettingsError, match="each larger than the one before"):
        load_plan(wrong)


def test_the_wait_counts_from_the_start_of_the_stage_and_a_rollback_leaves_no_canaries() -> None:
    late = Position(Stage.CANARY, 10, 5_000 * S)
    assert next_move(late, PLAN, NOTHING, 8_600 * S).stays
    move = next_move(late, PLAN, NOTHING, 8_601 * S)
    assert (move.stage, move.canary_percent) == (Stage.ROLLED_BACK, 0)
    assert move.reasons[0] == "not enough evidence after 3601 s"


def test_the_reasons_have_the_rate_per_100_km_with_its_exact_interval() -> None:
    evidence = Evidence(Totals(), Totals(km=50, interventions=3), Totals(km=200, interventions=12))
    move = next_move(CANARY, PLAN, evidence, 1)
    # The exact Poisson intervals of 3 and of 12 events are [0.619, 8.767] and [6.201, 20.962].
    assert move.reasons == (
        "canary 3 interventions in 50.0 km, 6.00 per 100 km [1.24, 17.53] (at least 20 km required)",
        "control 12 interventions in 200.0 km, 6.00 per 100 km [3.10, 10.48]",
    )


@pytest.mark.parametrize(("age_s", "again"), [(86_400, False), (86_400.5, True), (86_399.5, False), (604_800, True)])
def test_metadata_is_signed_again_once_it_is_older_than_a_day(age_s: float, again: bool) -> None:
    assert must_sign_again(7 * S, 7 * S + round(age_s * S)) is again


@pytest.mark.parametrize("stage", [Stage.REGISTERED, Stage.RELEASED, Stage.ROLLED_BACK])
def test_no_vehicle_is_assigned_a_candidate_outside_shadow_and_canary(stage: Stage) -> None:
    assignment = assign(True, Position(stage, 100, 0), "r", "candidate", "released")
    assert (assignment.active, assignment.shadow, assignment.cohort) == ("released", "", Cohort.CONTROL)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.sequential import Score, needed
from fleetloop.kit.process.settings import SettingsError
from rollout_controller.core import (
    Driven,
    assign,
    cannot_deliver,
    chosen_vehicles,
    extensions_used,
    forecast_of,
    forecast_text,
    in_favour_needed,
    must_sign_again,
    next_move,
    share_of,
)
from rollout_controller.model import Cohort, CohortTotals, Decisions, Evidence, Position, RolloutPlan, Stage
from rollout_controller.settings import load_plan

PLAN = RolloutPlan(
    shadow_percent=25,
    shadow_margin=0.1,
    canary_percents=(10, 50),
    worse_ratio=2.0,
    false_rollback=0.01,
    false_release=0.05,
    inference_p99_ms=100,
    stage_max_s=3600,
)
S, DAY_S = 10**9, 86_400.0
SHADOWING = Position(Stage.SHADOWING, 0, 0)
CANARY = Position(Stage.CANARY, 10, 0)
LAST = Position(Stage.CANARY, 50, 0)
NOTHING = Evidence()
ROLLBACK, RELEASE = needed(PLAN.false_rollback), needed(PLAN.false_release)
scores = st.builds(Score, st.floats(-50, 50), st.floats(-50, 50))
positions = st.builds(
    Position, st.sampled_from([Stage.SHADOWING, Stage.CANARY]), st.sampled_from([10, 50]), st.just(0),
    st.floats(0, 20_000),
)  # fmt: skip


@given(positions, scores, scores)
def test_rollback_needs_evidence_against_and_promotion_evidence_in_favour(
    position: Position, shadow_score: Score, score: Score
) -> None:
    """Everything else is no decision, however long it lasts: it stays, and is withdrawn in the end."""
    move = next_move(position, PLAN, Evidence(shadow_score=shadow_score, score=score))
    decides = shadow_score if position.stage is Stage.SHADOWING else score
    if decides.against >= ROLLBACK:
        assert move.stage is Stage.ROLLED_BACK
    elif decides.in_favour >= in_favour_needed(position, PLAN):
        assert move.stage in (Stage.CANARY, Stage.RELEASED) and not move.stays
    elif extensions_used(position, PLAN) > PLAN.extensions:
        assert move.stage is Stage.WITHDRAWN
    else:
        assert move.stays and move.stage is position.stage


def test_without_reports_a_rollout_says_what_is_missing_and_is_never_rolled_back() -> None:
    assert next_move(SHADOWING, PLAN, NOTHING).reasons[0] == "no decision of the candidate in shadow yet"
    assert next_move(CANARY, PLAN, NOTHING).reasons[0] == "no canary has driven yet"
    lonely = replace(NOTHING, canary=CohortTotals(1, 100.0, 3))
    assert next_move(CANARY, PLAN, lonely).reasons[0].startswith("no other vehicle has driven yet")
    late = next_move(replace(CANARY, running_s=3700), PLAN, lonely)
    assert late.stays and late.reasons[0].startswith(
        "not decided after 1.0 h: extended 1 of 2 times (no other vehicle"
    )
    gone = next_move(replace(CANARY, running_s=3 * 3600), PLAN, lonely)
    assert gone.stage is Stage.WITHDRAWN
    assert gone.reasons[0] == "not decided after 3.0 h in which vehicles drove: withdrawn, not rolled back"


def test_canaries_go_up_step_by_step_and_only_the_last_step_needs_all_evidence() -> None:
    half = replace(NOTHING, score=Score(in_favour=RELEASE / 2))
    first = next_move(CANARY, PLAN, half)
    assert (first.stage, first.canary_percent) == (Stage.CANARY, 50)
    assert next_move(LAST, PLAN, half).stays
    assert next_move(LAST, PLAN, replace(NOTHING, score=Score(in_favour=RELEASE))).stage is Stage.RELEASED


def test_a_candidate_that_is_worse_comes_back_with_the_odds() -> None:
    move = next_move(CANARY, PLAN, replace(NOTHING, score=Score(against=needed(0.001))))
    assert move.stage is Stage.ROLLED_BACK
    assert move.reasons[0] == "it has more interventions per km: odds of 1e+03 to 1, 100 are needed"
    move = next_move(SHADOWING, PLAN, replace(NOTHING, shadow_score=Score(against=ROLLBACK)))
    assert move.stage is Stage.ROLLED_BACK
    assert move.reasons[0].startswith("it is wrong more often than the released model")


@pytest.mark.parametrize("field", ["faulty", "slow"])
@pytest.mark.parametrize(
    ("count", "vehicles", "control", "control_vehicles", "tolerated", "comes_back"),
    [
        (1, 10, 0, 100, 0, False),  # one vehicle may be broken
        (2, 10, 0, 100, 0, True),
        (1, 1, 0, 100, 0, True),  # the whole cohort
        (0, 1, 0, 100, 0, False),
        (2, 10, 20, 100, 0, False),  # as many of the others have it
        (2, 10, 19, 100, 0, True),
        (3, 10, 0, 100, 2, False),  # two of the three may lie
        (4, 10, 0, 100, 2, True),
        (2, 10, 0, 0, 0, True),
    ],
)
def test_faults_and_slowness_count_by_vehicle_and_only_where_the_others_have_them_less(
    field: str, count: int, vehicles: int, control: int, control_vehicles: int, tolerated: int, comes_back: bool
) -> None:
    watched = CohortTotals(vehicles, **{field: count})
    others = CohortTotals(control_vehicles, **{field: control})
    for position, evidence in (
        (SHADOWING, Evidence(shadow=watched, control=others, tolerated=tolerated)),
        (CANARY, Evidence(canary=watched, control=others, tolerated=tolerated)),
    ):
        assert (next_move(position, PLAN, evidence).stage is Stage.ROLLED_BACK) is comes_back


def test_a_release_waits_for_its_approval_and_still_comes_back() -> None:
    plan = replace(PLAN, needs_approval=True)
    good = replace(NOTHING, score=Score(in_favour=RELEASE))
    waits = next_move(replace(LAST, running_s=10**6), plan, good)
    assert waits.stays and waits.reasons[0].startswith("waits for a release manager")
    assert next_move(LAST, plan, good, "user/ada").stage is Stage.RELEASED
    assert next_move(LAST, plan, replace(good, score=Score(ROLLBACK, RELEASE))).stage is Stage.ROLLED_BACK


def test_the_reasons_have_both_balances_and_the_rates_with_their_exact_intervals() -> None:
    evidence = Evidence(
        canary=CohortTotals(2, 50, 3), control=CohortTotals(6, 200, 12), score=Score(0.0, needed(0.5))
    )
    # The exact Poisson intervals of 3 and of 12 events are [0.619, 8.767] and [6.201, 20.962].
    assert next_move(LAST, PLAN, evidence).reasons == (
        "evidence in its favour 2 of 20, against it 1 of 100",
        "canary 3 interventions in 50.0 km, 6.00 per 100 km [1.24, 17.53]",
        "control 12 interventions in 200.0 km, 6.00 per 100 km [3.10, 10.48]",
    )
    shadow = Evidence(decisions=Decisions(20, 3, 1, 2, 4))
    assert next_move(SHADOWING, PLAN, shadow).reasons[1] == (
        "20 decisions in shadow: would have prevented 3 interventions and 1 false stops, would have missed 2 stops "
        "and made 4 false ones"
    )


def test_a_plan_that_the_fleet_cannot_carry_out_in_time_is_known_before_it_begins() -> None:
    assert forecast_of(None, PLAN) is None and not cannot_deliver(None, PLAN)
    forecast = forecast_of(Driven(4000.0, 1400, 2 * DAY_S), PLAN)
    assert forecast is not None and not cannot_deliver(forecast, replace(PLAN, stage_max_s=86_400))
    assert forecast.days == pytest.approx(forecast.km / (2000 * 0.5))
    assert "needs about" in forecast_text(forecast, PLAN)
    slow = forecast_of(Driven(20.0, 7, 2 * DAY_S), PLAN)
    assert slow is not None and cannot_deliver(slow, PLAN) and "days" in forecast_text(slow, PLAN)
    young = forecast_of(Driven(0.001, 7, 60.0), PLAN)
    assert young is not None and not cannot_deliver(young, PLAN), "a minute says nothing about a day"
    calm = forecast_of(Driven(1000.0, 0, DAY_S), PLAN)
    assert calm is not None and not cannot_deliver(calm, PLAN) and "never intervened" in forecast_text(calm, PLAN)


VEHICLES = st.lists(st.text("abc123", min_size=1, max_size=5), unique=True, min_size=1, max_size=40)


@given(VEHICLES, st.integers(1, 100), st.integers(0, 99))
def test_a_larger_share_holds_every_smaller_one(vehicles: list[str], percent: int, less: int) -> None:
    larger, smaller = share_of(vehicles, "r", percent), share_of(vehicles, "r", min(less, percent))
    assert smaller <= larger
    assert len(larger) == -(-len(vehicles) * percent // 100)


@given(VEHICLES, st.integers(1, 100), st.data())
def test_a_parked_vehicle_is_chosen_only_where_too_few_drive(
    vehicles: list[str], percent: int, data: st.DataObject
) -> None:
    parked = frozenset(data.draw(st.sets(st.sampled_from(vehicles))))
    members = frozenset(data.draw(st.sets(st.sampled_from(vehicles))))
    chosen = share_of(vehicles, "r", percent, members, parked)
    assert len(chosen) == -(-len(vehicles) * percent // 100)
    if chosen & parked:
        assert set(vehicles) - parked <= chosen


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
    wrong.write_text(shipped.read_text().replace("worse_ratio: 2", "worse_ratio: 1"))
    with pytest.raises(SettingsError, match="worse_ratio: Input should be greater than 1"):
        load_plan(wrong)


@pytest.mark.parametrize("percents", ["[0, 50]", "[50, 150]", "[50, 25]", "[25, 25]"])
def test_canary_shares_have_to_rise(percents: str, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config" / "rollout.yaml"
    wrong = tmp_path / "rollout.yaml"
    wrong.write_text(shipped.read_text().replace("canary_percents: [25]", f"canary_percents: {percents}"))
    with pytest.raises(SettingsError, match="each larger than the one before"):
        load_plan(wrong)


@pytest.mark.parametrize(("age_s", "again"), [(86_400, False), (86_400.5, True), (86_399.5, False), (604_800, True)])
def test_metadata_is_signed_again_once_it_is_older_than_a_day(age_s: float, again: bool) -> None:
    assert must_sign_again(7 * S, 7 * S + round(age_s * S)) is again


@pytest.mark.parametrize("stage", [Stage.REGISTERED, Stage.RELEASED, Stage.ROLLED_BACK, Stage.WITHDRAWN])
def test_no_vehicle_is_assigned_a_candidate_outside_shadow_and_canary(stage: Stage) -> None:
    assignment = assign(True, Position(stage, 100, 0), "r", "candidate", "released")
    assert (assignment.active, assignment.shadow, assignment.cohort) == ("released", "", Cohort.CONTROL)

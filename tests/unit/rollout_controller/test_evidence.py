"""Which reports count in a rollout, and that no few vehicles decide it, whatever they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.simulated_rollouts import LIES, PLAN, Simulated
from tests.unit.rollout_controller.test_transactions import FIRST, SECOND, Fleet, report
from tests.unit.rollout_controller.test_transactions import PLAN as PLAN_OF_FLEET

from fleetloop.domain.sequential import needed, sum_of, tolerated_of
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.storage.database import Database
from rollout_controller import model, queries, transactions
from rollout_controller.core import next_move
from rollout_controller.evidence import (
    SLACK_S,
    Assigned,
    OfVehicle,
    conditions_of,
    outliers_of,
    refusal_of,
)
from rollout_controller.lifecycle import Event
from rollout_controller.model import (
    Assignment,
    Cohort,
    Decisions,
    Evidence,
    Position,
    Refusal,
    Report,
    RolloutPlan,
    Stage,
)
from rollout_controller.store import Base, CohortRow, EvidenceRow, StretchRow
from rollout_controller.transactions import assignments
from rollout_controller.transactions import evidence as written

S = 10**9
CANARY = Assignment(SECOND, "", "r", Cohort.CANARY)
ASSIGNED = Assigned(CANARY, for_s=600.0, reported_s=300.0, amount=5.0, cohort_amount=50.0, cohort_vehicles=10)
HONEST = report("car", SECOND, assignment=CANARY, window_s=60.0, km=1.0, interventions=1)


def test_a_report_counts_when_it_matches_what_its_vehicle_was_assigned() -> None:
    assert refusal_of(HONEST, ASSIGNED, PLAN) is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (replace(CANARY, rollout_id="other"), Refusal.OTHER_ROLLOUT),
        (replace(CANARY, rollout_id=""), Refusal.OTHER_ROLLOUT),
        (replace(CANARY, cohort=Cohort.CONTROL), Refusal.OTHER_COHORT),
        (replace(CANARY, active=FIRST), Refusal.OTHER_MODEL),
        (replace(CANARY, shadow=FIRST), Refusal.OTHER_MODEL),
    ],
)
def test_a_report_that_says_something_else_is_no_evidence(said: Assignment, why: Refusal) -> None:
    assert refusal_of(replace(HONEST, assignment=said), ASSIGNED, PLAN) is why


def test_a_vehicle_without_an_assignment_gives_no_evidence() -> None:
    assert refusal_of(HONEST, None, PLAN) is Refusal.UNKNOWN_VEHICLE


@pytest.mark.parametrize(
    "change",
    [
        {"km": 6.2},
        {"km": -1.0},
        {"km": float("nan")},
        {"interventions": 62},
        {"decisions": Decisions(123)},
        {"decisions": Decisions(1, prevented=1, missed=1)},
        {"window_s": 0.0, "km": 0.2},
    ],
)
def test_more_than_fits_into_the_window_is_no_evidence(change: dict[str, object]) -> None:
    assert refusal_of(replace(HONEST, **change), ASSIGNED, PLAN) is Refusal.IMPOSSIBLE  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 400), max_size=30), st.floats(0, 3000))
def test_a_vehicle_cannot_report_of_more_time_than_has_passed(windows: list[float], for_s: float) -> None:
    reported_s = 0.0
    for window_s in windows:
        known = replace(ASSIGNED, for_s=for_s, reported_s=reported_s)
        if refusal_of(replace(HONEST, window_s=window_s, km=0.0, interventions=0), known, PLAN) is None:
            reported_s += window_s
    assert reported_s <= for_s + SLACK_S


def test_a_vehicle_counts_for_at_most_a_multiple_of_its_cohorts_mean() -> None:
    # With this report the mean is 5.1 km, of which three times count, and one comparison in advance.
    assert refusal_of(HONEST, replace(ASSIGNED, amount=15.29), PLAN) is None
    assert refusal_of(HONEST, replace(ASSIGNED, amount=15.31), PLAN) is Refusal.ABOVE_SHARE
    assert refusal_of(replace(HONEST, km=0.0), replace(ASSIGNED, amount=99.0), PLAN) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 6.0)), max_size=60), st.sampled_from([0.001, 1.0]))
def test_no_cohort_is_held_up_by_its_own_bound(reports: list[tuple[int, float]], in_advance: float) -> None:
    """A vehicle at or below the mean counts, and no vehicle has more than its share in advance of the others."""
    plan, sums = replace(PLAN, compare_every_km=in_advance), [0.0] * 10
    for vehicle, km in reports:
        known = replace(
            ASSIGNED,
            reported_s=0.0,
            amount=sums[vehicle],
            cohort_amount=sum(sums),
            cohort_vehicles=sum(map(bool, sums)),
        )
        refused = refusal_of(replace(HONEST, km=km), known, plan)
        after = [*sums[:vehicle], sums[vehicle] + km, *sums[vehicle + 1 :]]
        mean = sum(after) / sum(map(bool, after))
        if after[vehicle] <= plan.most_share * mean:
            assert refused is None
        if refused is None:
            sums = after
            assert sums[vehicle] <= plan.most_share * mean + in_advance + 1e-9


def test_a_vehicle_in_shadow_has_a_share_of_the_decisions() -> None:
    shadow = Assignment(FIRST, SECOND, "r", Cohort.SHADOW)
    said = replace(HONEST, assignment=shadow, decisions=Decisions(10), km=5.0)
    known = replace(ASSIGNED, assignment=shadow, amount=20, cohort_amount=100, cohort_vehicles=10)
    assert refusal_of(said, known, PLAN) is None
    assert refusal_of(said, replace(known, amount=29), PLAN) is Refusal.ABOVE_SHARE


def test_only_listed_conditions_are_compared_by_themselves() -> None:
    assert conditions_of(replace(HONEST, conditions="night"), PLAN) == "night"
    assert conditions_of(replace(HONEST, conditions="made-up"), PLAN) == ""


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0])
def test_three_percent_of_liars_leave_the_verdict_of_the_others(ratio: float, lie: str) -> None:
    same = 0
    for seed in range(6):
        fleet = Simulated(ratio, seed)
        for liars in ([0, 4, 8], [1, 2, 3], [0, 1, 2]):  # all of them canaries, none, and one
            lies = dict.fromkeys(liars, LIES[lie])
            verdict, honest = fleet.verdict(lies), fleet.verdict(lies, without_them=True)
            assert verdict in (honest, None), "liars turn no verdict"
            same += verdict is honest
    assert same >= 15, "and seldom hold one up"


def test_what_several_vehicles_have_in_common_is_no_outlier() -> None:
    many = [OfVehicle(f"v{n}", 10.0, 60 if n < 4 else 3) for n in range(100)]
    km, events = sum(each.km for each in many), sum(each.interventions for each in many)
    assert outliers_of(many, km, events, 3) == ["v0", "v1", "v2"], "at most as many as may lie"
    assert outliers_of(many, km, events, 0) == []
    twice = [OfVehicle(f"v{n}", 10.0, 12 if n < 2 else 3) for n in range(100)]
    assert outliers_of(twice, 1000.0, sum(each.interventions for each in twice), 3) == []


def test_one_vehicle_more_than_is_tolerated_can_turn_it() -> None:
    """The tests above can fail: without the bound, one liar among a hundred brings a good candidate back."""
    fleet = Simulated(1.0, 1, vehicles=20)  # of which none may lie
    assert fleet.verdict({}) is Stage.RELEASED
    assert fleet.verdict({0: (1.0, 60)}) is Stage.ROLLED_BACK


# --- in the database


class Rollout:
    """A fleet of eight in a rollout, whose vehicles report what they are told to."""

    def __init__(self, database: Database) -> None:
        self.fleet = Fleet(database)
        self.database = database
        self.sequence = 0
        self.now_s = 5.0
        for number in range(8):
            self.fleet.attest(f"car-{number}", "", 1)
        self.fleet.pass_model(FIRST, 1)
        self.fleet.begin(1)
        for number in range(8):
            self.fleet.attest(f"car-{number}", FIRST, 2)
        self.fleet.pass_model(SECOND, 3)
        begun = self.fleet.begin(3)
        assert begun is not None
        self.rollout_id = begun.rollout_id

    def names(self, cohort: Cohort) -> list[str]:
        return sorted(each.vehicle_id for each in self.fleet.vehicles() if each.cohort == cohort.value)

    def honest(self, name: str, **fields: object) -> Report:
        row = self.fleet.vehicle(name)
        self.sequence += 1
        return report(
            name, "", boot=b"evidence", sequence=self.sequence, end_utc_ns=round(self.now_s * S), window_s=1.0,
            assignment=queries.assignment_of(row), **fields,
        )  # fmt: skip

    def say(self, said: Report) -> None:
        self.now_s += 0.1
        self.database.run_now(
            lambda tx: transactions.record_report(tx, said, "demo", PLAN_OF_FLEET, round(self.now_s * S))
        )

    def evidence(self, plan: RolloutPlan = PLAN_OF_FLEET) -> Evidence:
        return self.database.run_now(lambda tx: queries.evidence(tx, self.rollout_id, plan))

    def compare(self) -> int:
        return self.database.run_now(lambda tx: written.compare(tx, self.rollout_id, PLAN_OF_FLEET))


@pytest.fixture
def rollout(database_url: str) -> Iterator[Rollout]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield Rollout(database)
    database.close()


def test_decisions_in_shadow_add_up_and_a_mute_model_is_found(rollout: Rollout) -> None:
    shadows = rollout.names(Cohort.SHADOW)
    assert len(shadows) == 4
    for name in shadows:
        rollout.say(rollout.honest(name, decisions=Decisions(2, prevented=1, missed=1)))
    assert rollout.evidence().decisions == Decisions(8, 4, 0, 4, 0)
    assert rollout.evidence().shadow_score.against < 0
    for _ in range(5):
        for name in shadows:
            rollout.say(rollout.honest(name, decisions=Decisions(2, missed=2)))
    known = rollout.evidence()
    assert next_move(Position(Stage.SHADOWING, 0, 0), PLAN_OF_FLEET, known).stage is Stage.ROLLED_BACK


def test_canaries_are_compared_with_those_that_drove_at_the_same_time(rollout: Rollout) -> None:
    rollout.fleet.move(Stage.CANARY, 25, 4)
    canaries, controls = rollout.names(Cohort.CANARY), rollout.names(Cohort.CONTROL)
    assert (len(canaries), len(controls)) == (2, 6)
    for name in canaries:
        rollout.say(rollout.honest(name, km=0.1, interventions=1))
    assert rollout.compare() == 0, "no other vehicle has driven"
    for _ in range(10):
        for name in (*canaries, *controls):
            rollout.say(rollout.honest(name, km=0.1))
    assert rollout.compare() == 1
    assert rollout.compare() == 0
    known = rollout.evidence()
    assert known.canary.km == pytest.approx(2.2) and known.canary.interventions == 2
    assert known.control.km == pytest.approx(6.0) and known.control.vehicles == 6
    own = rollout.database.read_now(lambda tx: list(tx.session.scalars(sa.select(EvidenceRow.against))))
    assert known.score.against == pytest.approx(sum(own)) and known.score.against > 0


def test_refused_reports_are_counted_by_reason_and_change_nothing(rollout: Rollout) -> None:
    rollout.fleet.move(Stage.CANARY, 25, 4)
    (canary, *_), (control, *_) = rollout.names(Cohort.CANARY), rollout.names(Cohort.CONTROL)
    rollout.say(rollout.honest(canary, km=0.05))
    before = rollout.evidence()
    lie = rollout.honest(control, km=0.1, interventions=1)
    rollout.say(replace(lie, assignment=Assignment(SECOND, "", rollout.rollout_id, Cohort.CANARY)))
    rollout.say(replace(rollout.honest(canary, km=50.0)))
    rollout.say(replace(rollout.honest(canary), window_s=1e6))
    assert rollout.evidence() == replace(before, refused={"other_cohort": 1, "impossible": 1, "too_long": 1})


def test_a_model_that_cannot_be_loaded_counts_although_another_one_is_attested(rollout: Rollout) -> None:
    rollout.fleet.move(Stage.CANARY, 25, 4)
    for name in rollout.names(Cohort.CANARY):
        said = rollout.honest(name)
        rollout.say(replace(said, assignment=replace(said.assignment, active=FIRST), unusable=True))
    known = rollout.evidence()
    assert known.canary.faulty == 2
    assert next_move(Position(Stage.CANARY, 25, 0), PLAN_OF_FLEET, known).stage is Stage.ROLLED_BACK


def test_a_repeated_report_counts_once(rollout: Rollout) -> None:
    (name, *_) = rollout.names(Cohort.SHADOW)
    said = rollout.honest(name, decisions=Decisions(1, prevented=1))
    for _ in range(3):
        rollout.say(said)
    assert rollout.evidence().decisions.total == 1


def test_a_parked_canary_is_replaced_by_a_vehicle_that_drives(rollout: Rollout) -> None:
    """A fleet whose only canary is parked for a day, in September or at night, must not be rolled back for it."""
    rollout.fleet.move(Stage.CANARY, 25, 4)
    parked = rollout.names(Cohort.CANARY)
    plan = replace(PLAN_OF_FLEET, parked_after_s=60.0, silent_after_s=1e6)
    for name in rollout.names(Cohort.CONTROL):
        rollout.now_s = 90.0
        rollout.say(rollout.honest(name, km=0.05))

    def replace_at(at_s: float) -> int:
        return rollout.database.run_now(lambda tx: assignments.replace_parked(tx, "demo", plan, round(at_s * S)))

    assert replace_at(60.0) == 0, "they have just been chosen"
    assert replace_at(95.0) == 4
    assert not set(parked) & set(rollout.names(Cohort.CANARY))
    assert replace_at(96.0) == 0
    assert replace_at(9999.0) == 0, "no vehicle drives: there is no better one"


def test_a_withdrawn_candidate_is_tried_again_without_its_evidence(rollout: Rollout) -> None:
    for name in rollout.names(Cohort.SHADOW):
        rollout.say(rollout.honest(name, decisions=Decisions(1)))

    def retry() -> model.Rollout:
        return rollout.fleet.act(Event.RETRY, rollout.rollout_id, 20, PLAN_OF_FLEET)

    with pytest.raises(RefusedError, match="the rollout is in shadow, which does not allow a person to `retry`"):
        retry()
    rollout.fleet.move(Stage.WITHDRAWN, 0, 15)
    assert rollout.names(Cohort.SHADOW) == [] and rollout.fleet.vehicle("car-0").active == FIRST
    again = retry()
    assert (again.position.stage, again.tries, again.is_open, again.reports) == (Stage.SHADOWING, 2, True, 0)
    assert rollout.evidence() == Evidence(members=4) and len(rollout.names(Cohort.SHADOW)) == 4
    stages = [stage for digest, stage in rollout.fleet.stages() if digest == SECOND]
    assert stages == [Stage.REGISTERED, Stage.SHADOWING, Stage.WITHDRAWN, Stage.SHADOWING]
    ids = rollout.database.read_now(lambda tx: [each.event_id for each in queries.changes_after(tx, 0)])
    assert len(set(ids)) == len(ids), "subscribers take a change with a known id for a repeat"
    with pytest.raises(RefusedError, match="no such rollout"):
        rollout.fleet.act(Event.RETRY, "nowhere", 1, PLAN_OF_FLEET)


def test_old_evidence_is_deleted_and_that_of_the_open_rollout_stays(rollout: Rollout) -> None:
    rollout.fleet.move(Stage.CANARY, 25, 4)
    for name in (*rollout.names(Cohort.CANARY), *rollout.names(Cohort.CONTROL)):
        rollout.say(rollout.honest(name, km=0.05))

    def prune(now_s: float) -> int:
        return rollout.database.run_now(lambda tx: written.prune_evidence(tx, round(now_s * S), 100, keep_s=1000))

    assert prune(10**6) == 0
    rollout.fleet.move(Stage.ROLLED_BACK, 0, 11)
    assert prune(11) == 8, "what was not compared yet is of no more use"
    assert rollout.database.read_now(lambda tx: tx.session.scalars(sa.select(StretchRow)).all()) == []
    assert prune(10**6) == 8
    assert rollout.evidence().canary.vehicles == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200)), max_size=12))
def test_the_database_adds_up_what_the_library_computes(counts: list[tuple[int, int, int]]) -> None:
    """Scores of decisions are computed by the database, vehicle by vehicle."""
    from fleetloop.domain.sequential import compare_decisions

    database = Database("sqlite://", Base)
    Base.metadata.create_all(database.engine)
    plan = replace(PLAN_OF_FLEET, lying_share=0.25)
    with database.engine.begin() as connection:
        connection.execute(
            sa.insert(CohortRow).values(
                rollout_id="r", cohort="shadow", vehicles=0, km=0.0, interventions=0, decisions=0
            )
        )
        for number, (better, worse, equal) in enumerate(counts):
            connection.execute(
                sa.insert(EvidenceRow).values(
                    rollout_id="r",
                    vehicle_id=f"v{number}",
                    cohort="shadow",
                    assigned_at_utc_ns=0,
                    reported_s=0.0,
                    km=0.0,
                    interventions=0,
                    against=0.0,
                    in_favour=0.0,
                    unguarded=0.0,
                    decisions=better + worse + equal,
                    prevented=better,
                    avoided=0,
                    missed=worse // 2,
                    false_stops=worse - worse // 2,
                    faults=0,
                    slow=False,
                )
            )
    found = database.run_now(lambda tx: queries.evidence(tx, "r", plan))
    scores = [compare_decisions(*each, plan.shadow_margin) for each in counts]
    tolerated = tolerated_of(len(counts), 0.25)
    assert found.shadow_score.against == pytest.approx(sum_of((s.against for s in scores), tolerated), abs=1e-9)
    assert found.shadow_score.in_favour == pytest.approx(sum_of((s.in_favour for s in scores), tolerated), abs=1e-9)
    database.close()


def test_no_test_here_needs_more_evidence_than_the_plan() -> None:
    assert needed(PLAN.false_rollback) == pytest.approx(4.605, abs=1e-3)

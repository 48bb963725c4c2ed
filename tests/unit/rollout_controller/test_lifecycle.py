"""The table of transitions, and whatever happens in any order to real rollouts in a real database."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.rollout_controller.test_transactions import PLAN, report

from fleetloop.kit.refusal import FailedPreconditionError, RefusedError
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import queries, transactions
from rollout_controller.codec import passed_run
from rollout_controller.core import against_needed
from rollout_controller.lifecycle import (
    TRANSITIONS,
    Actor,
    Event,
    State,
    allows,
    next_state,
    possible_events,
    state_of,
)
from rollout_controller.model import Cohort, Decisions, Rollout, Stage
from rollout_controller.store import Base, ModelRow, OutboxRow, RolloutRow, VehicleRow
from rollout_controller.transactions import actions
from rollout_controller.transactions.actions import Action
from rollout_controller.worker import Worker

T = TypeVar("T")
OPEN = (State.SHADOWING, State.SHADOWING_PAUSED, State.CANARY, State.CANARY_PAUSED)
ACTIONS = (Event.APPROVE, Event.PAUSE, Event.RESUME, Event.ABORT, Event.RETRY, Event.ROLL_BACK)
EASY = replace(
    PLAN, canary_percents=(25, 50), worse_ratio=10.0, false_rollback=0.3, false_release=0.3, compare_every_km=0.1,
    stage_max_s=60, extensions=1, needs_approval=True,
)  # fmt: skip
"""A plan that a few reports decide."""


def test_a_refusal_names_the_state_and_what_is_possible_instead() -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        next_state(State.WITHDRAWN, Event.PAUSE, Actor.PERSON)
    assert str(caught.value) == (
        "rollout_id: the rollout is withdrawn, which does not allow a person to `pause`; possible now: retry"
    )
    with pytest.raises(FailedPreconditionError, match="the controller can change it no more"):
        next_state(State.RELEASED, Event.PROMOTE, Actor.CONTROLLER)


@pytest.mark.parametrize("state", OPEN)
def test_evidence_against_a_candidate_and_a_person_can_end_every_open_rollout(state: State) -> None:
    for event, actor in (
        (Event.ROLL_BACK, Actor.CONTROLLER),
        (Event.WITHDRAW, Actor.CONTROLLER),
        (Event.ROLL_BACK, Actor.PERSON),
        (Event.ABORT, Actor.PERSON),
    ):
        assert next_state(state, event, actor) in (State.ROLLED_BACK, State.WITHDRAWN)


def test_nothing_moves_a_paused_rollout_forward_but_its_resumption() -> None:
    for (state, event), transition in TRANSITIONS.items():
        if state in (State.SHADOWING_PAUSED, State.CANARY_PAUSED) and event is not Event.RESUME:
            assert transition.next in (state, State.ROLLED_BACK, State.WITHDRAWN)


def test_every_state_can_be_reached_and_only_people_release_from_a_pause() -> None:
    reached = {State.NEW}
    for _ in State:
        reached |= {each.next for (state, _), each in TRANSITIONS.items() if state in reached}
    assert reached == set(State)
    assert all(each.actors == (Actor.PERSON,) for (_, event), each in TRANSITIONS.items() if event is Event.RESUME)


class Publications:
    async def publish_pending(self) -> bool:
        return False


class Admissions:
    def __init__(self) -> None:
        self.names: set[str] = set()

    def revoked(self, kind: IdentityKind) -> frozenset[str]:
        return frozenset(self.names)


@dataclass(frozen=True)
class Seen:
    """What must not change while a rollout is held."""

    rollout: Rollout
    members: frozenset[str]


class Life(RuleBasedStateMachine):
    """Reports, ticks, people, revocations and candidates, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'rollout.db'}", Base)
        Base.metadata.create_all(self.database.engine)
        self.clock, self.admissions = ManualClock(utc_ns=10**12), Admissions()
        self.worker = Worker(self.database, Publications(), EASY, "demo", self.clock, self.admissions)  # type: ignore[arg-type]
        self.loop = asyncio.new_event_loop()
        self.models = self.sequence = 0
        for number in range(8):
            self.a_vehicle_comes(number)
        self.register()
        self.tick(1)
        self.new_candidate()

    def teardown(self) -> None:
        self.loop.close()
        self.database.close()
        self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def vehicles(self) -> list[VehicleRow]:
        return self.database.read_now(lambda tx: list(tx.session.scalars(sa.select(VehicleRow))))

    def rollouts(self) -> list[Rollout]:
        rows = sa.select(RolloutRow).order_by(RolloutRow.rollout_id)
        return self.database.read_now(lambda tx: [queries.rollout_of(row) for row in tx.session.scalars(rows)])

    def open(self) -> Rollout | None:
        return self.database.read_now(queries.open_rollout)

    def seen(self) -> Seen | None:
        rollout = self.open()
        if rollout is None or not self.database.read_now(lambda tx: queries.held(tx, rollout)):
            return None
        return Seen(rollout, self.members(rollout.digest))

    def members(self, digest: str) -> frozenset[str]:
        return frozenset(row.vehicle_id for row in self.vehicles() if digest in (row.active, row.shadow))

    def say(self, tx: Transaction, name: str, **fields: object) -> None:
        """A vehicle reports what it was assigned."""
        self.sequence += 1
        known = tx.session.get(VehicleRow, name)
        if known is not None:
            fields["assignment"] = queries.assignment_of(known)
        said = report(name, "", sequence=self.sequence, end_utc_ns=self.clock.now_utc_ns(), **fields)
        transactions.record_report(tx, said, "demo", EASY, self.clock.now_utc_ns())

    def all_say(self, cohorts: Collection[Cohort], **fields: object) -> None:
        names = [row.vehicle_id for row in self.vehicles() if Cohort(row.cohort) in cohorts and not row.revoked]

        def work(tx: Transaction) -> None:
            for name in names:
                self.say(tx, name, **fields)

        self.database.run_now(work)

    def action(self) -> Action:
        return Action("user/ann", "because", "demo", EASY, self.clock.now_utc_ns())

    @rule()
    def new_candidate(self) -> None:
        self.register()
        self.tick(1)

    def register(self) -> None:
        self.models += 1
        run = training_pb2.RunChanged(model_digest=f"{self.models:064x}", run_id=f"run-{self.models}")

        def work(tx: Transaction) -> None:
            transactions.register(tx, passed_run(run), self.clock.now_utc_ns())
            tx.session.get_one(ModelRow, run.model_digest).published = True

        self.database.run_now(work)

    @rule(good=st.sampled_from([True, True, False]), ticks=st.booleans())
    def evidence_comes(self, good: bool, ticks: bool) -> None:
        for _ in range(2):
            self.all_say([Cohort.SHADOW], decisions=Decisions(4) if good else Decisions(4, false_stops=4))
            self.all_say([Cohort.CANARY], km=0.1, interventions=0 if good else 2)
            self.all_say([Cohort.CONTROL], km=0.1, interventions=2 if good else 0)
        if ticks:
            self.tick(1)

    @rule(number=st.integers(0, 11))
    def a_vehicle_comes(self, number: int) -> None:
        self.database.run_now(lambda tx: self.say(tx, f"car-{number}"))

    @rule(number=st.integers(0, 11))
    def a_vehicle_is_revoked(self, number: int) -> None:
        if len(self.admissions.names) < 4:
            self.admissions.names.add(f"car-{number}")

    @rule()
    def all_are_enrolled_again(self) -> None:
        self.admissions.names.clear()

    @rule(passed_s=st.sampled_from([1, 30, 100]))
    def tick(self, passed_s: int) -> None:
        self.clock.advance(passed_s)
        self.all_say([*Cohort])  # otherwise the time of the stage stands still
        before = self.seen()
        self.run(self.worker.run_once())
        rollout = self.open()
        if before is not None:
            self.check_held(before)
        if rollout is not None and rollout.reports:
            known = self.database.read_now(lambda tx: queries.evidence(tx, rollout.rollout_id, EASY))
            score = known.shadow_score if rollout.position.stage is Stage.SHADOWING else known.score
            assert max(score.against, score.unguarded) < against_needed(EASY), "a harmful candidate stays on the road"

    def check_held(self, before: Seen) -> None:
        """A rollout that is held stays where it is and uses up no time, or ends; no other vehicle gets its model."""
        after = {each.rollout_id: each for each in self.rollouts()}[before.rollout.rollout_id]
        if not after.is_open:
            assert after.position.stage in (Stage.ROLLED_BACK, Stage.WITHDRAWN)
            assert self.open() is None, "nothing begins in its place"
            return
        assert after.position == before.rollout.position
        assert self.members(after.digest) <= before.members

    @rule(event=st.sampled_from(ACTIONS), which=st.integers(0, 30))
    def a_person_acts(self, event: Event, which: int) -> None:
        known = self.rollouts()
        rollout = self.open() if which < 15 else None  # the open one is the most interesting
        rollout = rollout or known[which % len(known)]
        self.act(event, rollout)

    @rule()
    def the_released_model_is_rolled_back(self) -> None:
        released = self.database.read_now(queries.released)
        self.act(Event.ROLL_BACK, next(each for each in self.rollouts() if each.digest == released))

    @rule()
    def a_candidate_is_approved_and_released(self) -> None:
        for _ in range(3):
            rollout = self.open()
            if rollout is not None:
                self.act(Event.APPROVE, rollout)
                self.evidence_comes(True, True)

    def act(self, event: Event, rollout: Rollout) -> None:
        state = _state(rollout)
        try:
            after = self.database.run_now(lambda tx: actions.act(tx, event, rollout.rollout_id, self.action()))
        except RefusedError:
            unchanged = {each.rollout_id: each for each in self.rollouts()}[rollout.rollout_id]
            assert unchanged == rollout
            if state in OPEN:
                assert not allows(state, event, Actor.PERSON)
            return
        assert event in possible_events(rollout)
        assert _state(after) is next_state(state, event, Actor.PERSON)

    @rule()
    def a_person_stops_all(self) -> None:
        self.of_all(actions.stop_all, was_stopped=False)

    @rule()
    def a_person_resumes_all(self) -> None:
        self.of_all(actions.resume_all, was_stopped=True)

    def of_all(self, work: Callable[[Transaction, Action], object], was_stopped: bool) -> None:
        stopped = self.database.read_now(queries.stop) is not None
        if stopped == was_stopped:
            self.database.run_now(lambda tx: work(tx, self.action()))
            return
        with pytest.raises(FailedPreconditionError):
            self.database.run_now(lambda tx: work(tx, self.action()))

    @invariant()
    def there_is_one_open_rollout_at_most(self) -> None:
        known = self.rollouts()
        assert sum(each.is_open for each in known) <= 1
        assert all(each.is_open == (_state(each) in OPEN) for each in known)

    @invariant()
    def exactly_one_model_is_released(self) -> None:
        query = sa.select(ModelRow.digest).where(ModelRow.stage == Stage.RELEASED.value)
        (released,) = self.database.read_now(lambda tx: tx.session.scalars(query).all())
        rollout = self.open()
        if rollout is not None:
            assert rollout.previous == released, "it is compared with the model that drives"
        allowed = {released, *([rollout.digest] if rollout else [])}
        for row in self.vehicles():
            assert row.active in allowed and row.shadow in {"", *allowed}
            assert not (row.revoked and row.cohort != Cohort.CONTROL.value)

    @invariant()
    def stages_follow_the_table_and_sequences_rise(self) -> None:
        changes = self.database.read_now(lambda tx: queries.changes_after(tx, 0, 10_000))
        assert [each.sequence for each in changes] == list(range(1, len(changes) + 1))
        assert len({each.event_id for each in changes}) == len(changes)
        payloads = sa.select(OutboxRow).where(OutboxRow.topic == "fleet.model.v1").order_by(OutboxRow.row_id)
        rows = self.database.read_now(lambda tx: list(tx.session.scalars(payloads)))
        announced = [rollout_pb2.ModelChanged.FromString(row.payload).sequence for row in rows]
        assert announced == [each.sequence for each in changes]
        at: dict[str, Stage] = {}
        steps = {(_stage(state), _stage(each.next)) for (state, _), each in TRANSITIONS.items()}
        for change in changes:
            if change.rollout_id:
                assert (at.get(change.rollout_id, Stage.REGISTERED), change.stage) in steps
                at[change.rollout_id] = change.stage
        assert at == {each.rollout_id: each.position.stage for each in self.rollouts()}


def _state(rollout: Rollout) -> State:
    return state_of(rollout.position.stage, bool(rollout.paused_by))


def _stage(state: State) -> Stage:
    return next(stage for stage in Stage for paused in (False, True) if _is(stage, paused, state))


def _is(stage: Stage, paused: bool, state: State) -> bool:
    try:
        return state_of(stage, paused) is state
    except KeyError:
        return False


Life.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestLife = Life.TestCase

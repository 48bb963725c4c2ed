"""What one turn of the worker does: rollouts begin, move by the evidence, and are complete after the last vehicle."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from tests.unit.rollout_controller.test_transactions import FIRST, PLAN, SECOND, Fleet, report

from fleetloop.kit.refusal import RefusedError, UnavailableError
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.testing import ManualClock
from rollout_controller import queries, transactions
from rollout_controller.lifecycle import Event
from rollout_controller.model import Cohort, Decisions, Evidence, Report, Stage
from rollout_controller.ports import PeerUnavailableError
from rollout_controller.store import Base, RolloutRow
from rollout_controller.transactions import actions
from rollout_controller.transactions.actions import Action
from rollout_controller.worker import IDLE_AFTER_S, Worker

S = 10**9


class Publications:
    """Publishes nothing; fails with the errors that the test sets, one after the other."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.calls = 0

    async def publish_pending(self) -> bool:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return False


class Admissions:
    """Names the vehicles that the test revokes; fails while it says so."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.is_readable = True

    def revoked(self, kind: IdentityKind) -> frozenset[str]:
        assert kind is IdentityKind.VEHICLE
        if not self.is_readable:
            raise UnavailableError("the list cannot be read")
        return self.names


class House:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.fleet = Fleet(database)
        self.clock = ManualClock(utc_ns=10 * S)
        self.publications, self.admissions = Publications(), Admissions()
        self.worker = Worker(database, self.publications, PLAN, "demo", self.clock, self.admissions)  # type: ignore[arg-type]
        self.sequence = 0

    def stage(self, digest: str) -> tuple[str, int]:
        row = self.database.read_now(
            lambda tx: tx.session.scalars(sa.select(RolloutRow).where(RolloutRow.digest == digest)).one()
        )
        return row.stage, row.canary_percent

    async def shadowing(self) -> None:
        """The first model drives, and the second has begun its rollout."""
        for number in range(4):
            self.fleet.attest(f"car-{number}", "", 10)
        self.fleet.pass_model(FIRST, 10)
        await self.worker.run_once()
        for number in range(4):
            self.fleet.attest(f"car-{number}", FIRST, 10)
        self.fleet.pass_model(SECOND, 10)
        begun = await self.worker.run_once()
        assert begun is not None and begun.stage is Stage.SHADOWING

    def say(self, cohort: Cohort, **fields: object) -> None:
        """Every vehicle of a cohort reports."""
        for row in self.fleet.vehicles():
            if row.cohort == cohort.value:
                self.sequence += 1
                said = report(
                    row.vehicle_id, "", boot=b"evidence", sequence=self.sequence, end_utc_ns=self.clock.now_utc_ns(),
                    assignment=queries.assignment_of(row), **fields,
                )  # fmt: skip
                self.database.run_now(partial(self._record, said))

    def _record(self, said: Report, tx: Transaction) -> None:
        transactions.record_report(tx, said, "demo", PLAN, self.clock.now_utc_ns())

    def good_shadow(self) -> None:
        """Decisions in shadow that are enough to go on."""
        for _ in range(20):
            self.say(Cohort.SHADOW, decisions=Decisions(2))

    def good_canary(self) -> None:
        """Distance that is enough to release."""
        for _ in range(100):
            self.say(Cohort.CANARY, km=0.1)
            self.say(Cohort.CONTROL, km=0.1, interventions=1)


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield House(database)
    database.close()


def moves(stage: Stage) -> float:
    return REGISTRY.get_sample_value("fleetloop_rollout_moves_total", {"stage": stage.value}) or 0.0


async def test_the_first_model_is_released_at_once_and_needs_no_evidence(house: House) -> None:
    before = moves(Stage.RELEASED)
    assert await house.worker.run_once() is None
    house.fleet.pass_model(FIRST, 1)
    move = await house.worker.run_once()
    assert move is not None and (move.stage, move.canary_percent) == (Stage.RELEASED, 100)
    assert moves(Stage.RELEASED) == before + 1
    assert await house.worker.run_once() is None, "no rollout is open"


async def test_a_rollout_moves_from_shadow_over_canary_to_all_vehicles(house: House) -> None:
    await house.shadowing()
    before = {stage: moves(stage) for stage in Stage}
    for stage, percent, prove in (
        (Stage.CANARY, 25, house.good_shadow),
        (Stage.RELEASED, 100, house.good_canary),
    ):
        move = await house.worker.run_once()
        assert move is not None and move.stays, "there is no evidence yet"
        prove()
        move = await house.worker.run_once()
        assert move is not None and (move.stage, move.canary_percent) == (stage, percent)
        assert house.stage(SECOND) == (stage.value, percent)
        assert moves(stage) == before[stage] + 1
    assert house.database.read_now(queries.released) == SECOND
    assert await house.worker.run_once() is None


async def test_evidence_against_a_candidate_rolls_it_back(house: House) -> None:
    await house.shadowing()
    for _ in range(8):
        house.say(Cohort.SHADOW, decisions=Decisions(2, false_stops=2))
    before = moves(Stage.ROLLED_BACK)
    move = await house.worker.run_once()
    assert move is not None and move.stage is Stage.ROLLED_BACK
    assert house.stage(SECOND) == ("rolled_back", 0)
    assert moves(Stage.ROLLED_BACK) == before + 1
    assert house.database.read_now(queries.released) == FIRST


async def test_a_rollout_that_waits_notes_why_and_counts_no_move(house: House) -> None:
    await house.shadowing()
    house.say(Cohort.SHADOW, decisions=Decisions(1))
    before = {stage: moves(stage) for stage in Stage}
    move = await house.worker.run_once()
    assert move is not None and move.stays
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None and rollout.reasons[1].startswith("2 decisions in shadow")
    assert {stage: moves(stage) for stage in Stage} == before
    share = REGISTRY.get_sample_value("fleetloop_rollout_evidence_ratio", {"side": "in_favour"})
    assert share == pytest.approx(2 * math.log(1.05) / math.log(20))


async def test_an_outage_and_a_parked_fleet_do_not_count_as_time(house: House) -> None:
    plan = replace(PLAN, stage_max_s=600, extensions=0)
    await house.shadowing()
    house.worker = Worker(house.database, house.publications, plan, "demo", house.clock, house.admissions)  # type: ignore[arg-type]
    await house.worker.run_once()

    def running_s() -> float:
        found = house.database.read_now(queries.open_rollout)
        assert found is not None
        return found.position.running_s

    for _ in range(3):
        house.clock.advance(5)
        house.say(Cohort.SHADOW, decisions=Decisions(1))
        await house.worker.run_once()
    assert running_s() == pytest.approx(15)
    house.worker = Worker(house.database, house.publications, plan, "demo", house.clock, house.admissions)  # type: ignore[arg-type]
    house.clock.advance(3600)  # the controller was away for an hour
    await house.worker.run_once()
    assert running_s() == pytest.approx(15)
    for _ in range(100):
        house.clock.advance(60)  # it is back, and no vehicle reports
        await house.worker.run_once()
    assert running_s() <= 15 + IDLE_AFTER_S
    assert house.stage(SECOND) == ("shadowing", 0)


async def test_a_candidate_without_a_decision_is_extended_and_then_withdrawn(house: House) -> None:
    await house.shadowing()
    seen = []
    while house.database.read_now(queries.open_rollout) is not None:
        house.clock.advance(30)
        house.say(Cohort.SHADOW, decisions=Decisions(0))
        move = await house.worker.run_once()
        assert move is not None
        seen.append((move.stays, move.reasons[0][:11]))
    assert (True, "not decided") in seen
    assert house.stage(SECOND) == ("withdrawn", 0)
    assert house.database.read_now(queries.released) == FIRST


async def test_a_rollout_that_moved_while_the_evidence_was_read_does_not_move_twice(house: House) -> None:
    await house.shadowing()
    house.good_shadow()
    read = house.database.run

    async def meanwhile(work: Callable[[Transaction], object]) -> object:
        answer = await read(work)
        if isinstance(answer, tuple):  # the evidence: an operator moves the rollout by hand before it is used
            house.fleet.move(Stage.CANARY, 25, 9)
        return answer

    house.worker._database.run = meanwhile  # type: ignore[method-assign, assignment]
    await house.worker.run_once()
    house.worker._database.run = read  # type: ignore[method-assign]
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None and rollout.position.stage_began_at_utc_ns == 9 * S
    assert house.fleet.stages().count((SECOND, Stage.CANARY)) == 1


async def test_a_plan_that_the_fleet_cannot_carry_out_is_refused_before_it_begins(house: House) -> None:
    await house.shadowing()
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None
    house.fleet.back(rollout.rollout_id, 10)
    for _ in range(20):
        house.say(Cohort.CONTROL, km=0.1, interventions=1)
    house.clock.advance(86_400)
    for number in range(4):
        house.fleet.attest(f"car-{number}", FIRST, 86_410)
    house.fleet.pass_model("c" * 64, 86_410)
    move = await house.worker.run_once()
    assert move is not None and move.stage is Stage.WITHDRAWN
    assert move.reasons[0].startswith("the plan cannot be carried out: needs about")


async def test_a_revoked_vehicle_leaves_the_rollout_at_once_with_its_evidence(house: House) -> None:
    await house.shadowing()
    shadows = [row.vehicle_id for row in house.fleet.vehicles() if row.cohort == "shadow"]
    for _ in range(3):
        house.say(Cohort.SHADOW, decisions=Decisions(1, false_stops=1))

    def known() -> Evidence:
        rollout = house.database.read_now(queries.open_rollout)
        assert rollout is not None
        return house.database.read_now(lambda tx: queries.evidence(tx, rollout.rollout_id, PLAN))

    assert known().decisions.total == 6
    house.admissions.is_readable = False
    house.admissions.names = frozenset({shadows[0]})
    await house.worker.run_once()
    assert known().decisions.total == 6, "a list that cannot be read revokes no vehicle"
    house.admissions.is_readable = True
    await house.worker.run_once()
    assert known().decisions.total == 3 and known().shadow.vehicles == 1
    row = house.fleet.vehicle(shadows[0])
    assert (row.cohort, row.shadow, row.revoked) == ("control", "", True)
    assert sum(row.cohort == "shadow" for row in house.fleet.vehicles()) == 2, "another one takes its place"
    house.admissions.names = frozenset()
    await house.worker.run_once()
    assert not house.fleet.vehicle(shadows[0]).revoked


async def test_a_vehicle_that_falls_silent_completes_the_rollout(house: House) -> None:
    for name in ("car", "scrapped"):
        house.fleet.attest(name, "", 10)
    house.fleet.pass_model(FIRST, 10)
    await house.worker.run_once()
    house.fleet.attest("car", FIRST, 60)
    house.clock.utc_ns = 100 * S
    await house.worker.run_once()
    assert house.database.read_now(queries.is_incomplete)
    assert REGISTRY.get_sample_value("fleetloop_rollout_silent_vehicles") == 0
    assert REGISTRY.get_sample_value("fleetloop_rollout_vehicles", {"model": FIRST[:12]}) == 1
    assert REGISTRY.get_sample_value("fleetloop_rollout_vehicles", {"model": "none"}) == 1
    count = REGISTRY.get_sample_value("fleetloop_rollout_last_vehicle_seconds_count") or 0
    house.clock.utc_ns = 111 * S
    await house.worker.run_once()
    assert not house.database.read_now(queries.is_incomplete)
    assert REGISTRY.get_sample_value("fleetloop_rollout_silent_vehicles") == 1
    assert REGISTRY.get_sample_value("fleetloop_rollout_last_vehicle_seconds_count") == count + 1


async def test_the_worker_waits_out_an_orchestrator_that_is_unavailable(house: House) -> None:
    house.publications.errors = [PeerUnavailableError("away"), PeerUnavailableError("still away")]
    stopping = asyncio.Event()
    loop = asyncio.create_task(house.worker.run(stopping, 0.01))
    async with asyncio.timeout(10):
        while house.publications.calls < 4:
            await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.wait_for(loop, 5)


async def test_any_other_failure_ends_the_worker(house: House) -> None:
    house.publications.errors = [OSError("the disk is full")]
    with pytest.raises(OSError, match="full"):
        await asyncio.wait_for(house.worker.run(asyncio.Event(), 0.01), 5)


async def test_a_paused_rollout_uses_up_no_time_and_no_other_vehicle(house: House) -> None:
    await house.shadowing()
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None
    house.fleet.act(Event.PAUSE, rollout.rollout_id, 11)
    house.good_shadow()
    for _ in range(3):
        house.clock.advance(100)
        house.say(Cohort.CONTROL, km=0.01)
        move = await house.worker.run_once()
        assert move is not None and move.stays and move.reasons[0] == "paused by user/ann: odd"
    assert REGISTRY.get_sample_value("fleetloop_rollout_paused") == 1
    held = house.database.read_now(queries.open_rollout)
    assert held is not None and held.position == rollout.position
    before = {row.vehicle_id for row in house.fleet.vehicles() if row.shadow == SECOND}
    for number in range(10, 20):
        house.fleet.attest(f"car-{number}", FIRST, 400)
    assert {row.vehicle_id for row in house.fleet.vehicles() if row.shadow == SECOND} == before
    house.fleet.act(Event.RESUME, rollout.rollout_id, 401)
    assert sum(row.shadow == SECOND for row in house.fleet.vehicles()) > len(before), "the share counts them now"
    move = await house.worker.run_once()
    assert move is not None and move.stage is Stage.CANARY
    assert REGISTRY.get_sample_value("fleetloop_rollout_paused") == 0


async def test_evidence_against_a_paused_candidate_takes_it_off_the_road(house: House) -> None:
    await house.shadowing()
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None
    house.fleet.act(Event.PAUSE, rollout.rollout_id, 11)
    for _ in range(8):
        house.say(Cohort.SHADOW, decisions=Decisions(2, false_stops=2))
    move = await house.worker.run_once()
    assert move is not None and move.stage is Stage.ROLLED_BACK


async def test_after_a_stop_no_rollout_begins_until_all_are_resumed(house: House) -> None:
    action = Action("user/ann", "recall", "demo", PLAN, 10 * S)
    house.database.run_now(lambda tx: actions.stop_all(tx, action))
    house.fleet.pass_model(FIRST, 10)
    assert await house.worker.run_once() is None
    assert REGISTRY.get_sample_value("fleetloop_rollout_stopped") == 1
    with pytest.raises(RefusedError, match=r"stopped by user/ann: recall; .*resume --all"):
        house.database.run_now(lambda tx: actions.stop_all(tx, action))
    house.database.run_now(lambda tx: actions.resume_all(tx, action))
    move = await house.worker.run_once()
    assert move is not None and move.stage is Stage.RELEASED
    with pytest.raises(RefusedError, match="are not stopped"):
        house.database.run_now(lambda tx: actions.resume_all(tx, action))


async def test_a_candidate_is_compared_anew_when_the_released_model_is_rolled_back(house: House) -> None:
    await house.shadowing()
    second = house.database.read_now(queries.open_rollout)
    assert second is not None
    house.fleet.move(Stage.CANARY, 25, 11)
    house.fleet.move(Stage.RELEASED, 100, 12)
    house.fleet.pass_model("c" * 64, 13)
    begun = await house.worker.run_once()
    assert begun is not None and begun.stage is Stage.SHADOWING
    house.fleet.act(Event.ROLL_BACK, second.rollout_id, 14)
    third = house.database.read_now(queries.open_rollout)
    assert third is not None and (third.digest, third.previous, third.tries) == ("c" * 64, FIRST, 2)
    assert house.fleet.stages()[-3:] == [
        ("c" * 64, Stage.WITHDRAWN), (SECOND, Stage.ROLLED_BACK), ("c" * 64, Stage.SHADOWING),
    ]  # fmt: skip


async def test_a_superseded_model_does_not_begin_again(house: House) -> None:
    """A retried older candidate that is released makes a newer model registered again, which is no candidate."""
    await house.shadowing()
    second = house.database.read_now(queries.open_rollout)
    assert second is not None
    house.fleet.act(Event.ABORT, second.rollout_id, 11)
    house.fleet.pass_model("c" * 64, 12)
    await house.worker.run_once()
    for stage, percent in ((Stage.CANARY, 25), (Stage.RELEASED, 100)):
        house.fleet.move(stage, percent, 13)
    house.fleet.act(Event.RETRY, second.rollout_id, 14)
    for stage, percent in ((Stage.CANARY, 25), (Stage.RELEASED, 100)):
        house.fleet.move(stage, percent, 15)
    assert await house.worker.run_once() is None
    assert house.database.read_now(queries.released) == SECOND

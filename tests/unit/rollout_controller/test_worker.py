"""What one turn of the worker does: rollouts begin, move by the evidence, and are complete after the last vehicle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from tests.unit.rollout_controller.test_transactions import FIRST, PLAN, SECOND, Fleet

from fleetloop.kit.storage.database import Database
from fleetloop.kit.testing import ManualClock
from rollout_controller import queries
from rollout_controller.model import Evidence, Stage, Totals
from rollout_controller.ports import PeerUnavailableError
from rollout_controller.store import Base, RolloutRow
from rollout_controller.worker import Worker

S = 10**9
ENOUGH = Totals(shadow_frames=PLAN.shadow_frames, km=10 * PLAN.canary_km)
GOOD = Evidence(shadow=ENOUGH, canary=ENOUGH, control=ENOUGH)


class Monitor:
    """Gives the evidence that the test sets, and can do something while it is asked."""

    def __init__(self) -> None:
        self.says: Evidence | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked: list[tuple[str, str]] = []

    async def evidence(self, rollout_id: str, candidate: str) -> Evidence | None:
        self.asked.append((rollout_id, candidate))
        self.meanwhile()
        return self.says


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


class House:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.fleet = Fleet(database)
        self.clock = ManualClock(utc_ns=10 * S)
        self.monitor, self.publications = Monitor(), Publications()
        self.worker = Worker(database, self.publications, self.monitor, PLAN, "demo", self.clock)  # type: ignore[arg-type]

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
    assert house.monitor.asked == []


async def test_a_rollout_waits_while_the_monitor_has_no_evidence(house: House) -> None:
    await house.shadowing()
    assert await house.worker.run_once() is None
    assert house.stage(SECOND) == ("shadowing", 0)
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None and house.monitor.asked == [(rollout.rollout_id, SECOND)]


async def test_a_rollout_moves_from_shadow_over_canary_to_all_vehicles(house: House) -> None:
    await house.shadowing()
    house.monitor.says = GOOD
    before = {stage: moves(stage) for stage in Stage}
    for stage, percent in ((Stage.CANARY, 25), (Stage.RELEASED, 100)):
        house.clock.advance(1)
        move = await house.worker.run_once()
        assert move is not None and (move.stage, move.canary_percent) == (stage, percent)
        assert house.stage(SECOND) == (stage.value, percent)
        assert moves(stage) == before[stage] + 1
    assert house.database.read_now(queries.released) == SECOND
    assert await house.worker.run_once() is None


async def test_evidence_against_a_candidate_rolls_it_back(house: House) -> None:
    await house.shadowing()
    house.monitor.says = Evidence(Totals(shadow_frames=10, false_alarms=5), Totals(), Totals())
    before = moves(Stage.ROLLED_BACK)
    move = await house.worker.run_once()
    assert move is not None and move.stage is Stage.ROLLED_BACK
    assert house.stage(SECOND) == ("rolled_back", 0)
    assert moves(Stage.ROLLED_BACK) == before + 1
    assert house.database.read_now(queries.released) == FIRST


async def test_a_rollout_that_waits_notes_why_and_counts_no_move(house: House) -> None:
    await house.shadowing()
    house.monitor.says = Evidence(Totals(shadow_frames=3), Totals(), Totals())
    before = {stage: moves(stage) for stage in Stage}
    move = await house.worker.run_once()
    assert move is not None and move.stays
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None and rollout.reasons[0].startswith("3 of 10 shadow frames")
    assert {stage: moves(stage) for stage in Stage} == before


async def test_evidence_of_a_position_that_is_past_moves_nothing(house: House) -> None:
    await house.shadowing()
    house.monitor.says = GOOD
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None
    house.monitor.meanwhile = lambda: house.fleet.back(rollout.rollout_id, 20)
    before = moves(Stage.CANARY)
    await house.worker.run_once()
    assert house.stage(SECOND) == ("rolled_back", 0), "the operator's rollback stands"
    assert moves(Stage.CANARY) == before


async def test_a_rollout_that_moved_while_the_evidence_was_asked_for_does_not_move_twice(house: House) -> None:
    await house.shadowing()
    house.monitor.says = GOOD
    house.monitor.meanwhile = lambda: house.fleet.move(Stage.CANARY, 25, 9)
    await house.worker.run_once()
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None and rollout.position.stage_began_at_utc_ns == 9 * S
    assert house.fleet.stages()[-1] == (SECOND, Stage.CANARY)
    assert house.fleet.stages().count((SECOND, Stage.CANARY)) == 1


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

"""A vehicle that reports what it did not do neither releases a model nor rolls one back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.unit.rollout_controller.test_transactions import FIRST, PLAN, SECOND
from tests.unit.rollout_controller.test_worker import House

from fleetloop.kit.storage.database import Database
from rollout_controller import queries, transactions
from rollout_controller.model import Assignment, Cohort, Decisions, Evidence, Report, Stage
from rollout_controller.store import Base
from rollout_controller.worker import Worker


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield House(database)
    database.close()


def evidence(house: House) -> Evidence:
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None
    return house.database.read_now(lambda tx: queries.evidence(tx, rollout.rollout_id, PLAN))


def say(house: House, name: str, *, times: int = 1, **lie: object) -> None:
    """One vehicle reports, with lies on top of what it was assigned."""
    for _ in range(times):
        row = house.fleet.vehicle(name)
        house.sequence += 1
        house.clock.advance(0.01)
        honest = Report(
            vehicle_id=name, boot=b"evidence", sequence=house.sequence, end_utc_ns=house.clock.now_utc_ns(),
            window_s=1.0, assignment=queries.assignment_of(row), km=0.0, interventions=0, decisions=Decisions(),
            faults=0, unusable=False, inference_p99_ms=1.0, conditions="",
        )  # fmt: skip
        said = replace(honest, **lie)  # type: ignore[arg-type]
        house.database.run_now(
            lambda tx, said=said: transactions.record_report(tx, said, "demo", PLAN, house.clock.now_utc_ns())  # type: ignore[misc]
        )


async def test_three_reports_of_one_vehicle_release_no_model_that_was_not_driven(house: House) -> None:
    """They did on commit cf65aa8, within 4.4 s: in shadow frames, in canary distance, and in control distance."""
    await house.shadowing()
    rollout = house.database.read_now(queries.open_rollout)
    assert rollout is not None
    (control, *_) = [row.vehicle_id for row in house.fleet.vehicles() if row.cohort == "control"]
    for cohort, active, shadow in (
        (Cohort.SHADOW, FIRST, SECOND), (Cohort.CANARY, SECOND, ""), (Cohort.CONTROL, FIRST, ""),
    ):  # fmt: skip
        lie = Assignment(active, shadow, rollout.rollout_id, cohort)
        say(house, control, times=40, assignment=lie, km=0.1, decisions=Decisions(2))
        await house.worker.run_once()
    assert house.stage(SECOND) == ("shadowing", 0)
    assert evidence(house).shadow_score.in_favour == 0
    assert evidence(house).refused == {"other_cohort": 80}


async def test_one_report_of_many_faults_rolls_no_model_back(house: House) -> None:
    await house.shadowing()
    (one, *_) = [row.vehicle_id for row in house.fleet.vehicles() if row.cohort == "shadow"]
    say(house, one, faults=1000, inference_p99_ms=1e6)
    await house.worker.run_once()
    assert house.stage(SECOND) == ("shadowing", 0)


async def test_one_forged_report_turns_no_correct_rollback_into_a_release(house: House) -> None:
    """Among honest vehicles that show a bad model, one that says the opposite as loudly as the gateway lets it."""
    await house.shadowing()
    house.fleet.move(Stage.CANARY, 25, 10)
    canaries = [row.vehicle_id for row in house.fleet.vehicles() if row.cohort == "canary"]
    controls = [row.vehicle_id for row in house.fleet.vehicles() if row.cohort == "control"]
    for _ in range(120):
        for name in controls[:-1]:
            say(house, name, km=0.05)
        say(house, controls[-1], km=1e5, interventions=10**5)
        for name in canaries:
            say(house, name, km=0.05, interventions=1)
    move = await house.worker.run_once()
    assert move is not None and move.stage.value == "rolled_back"
    assert house.database.read_now(queries.released) == FIRST


def test_the_worker_has_no_other_source_of_evidence() -> None:
    assert "monitor" not in Worker.__init__.__annotations__

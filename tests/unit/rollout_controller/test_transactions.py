from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.paging import Page, page_of
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import queries, transactions
from rollout_controller.codec import passed_run
from rollout_controller.lifecycle import Event
from rollout_controller.model import Assignment, Cohort, Decisions, Move, Report, Rollout, RolloutPlan, Stage
from rollout_controller.store import Base, ModelRow, OutboxRow, PublicationRow, VehicleRow
from rollout_controller.transactions import actions, moves
from rollout_controller.transactions.actions import Action

S = 10**9
PLAN = RolloutPlan(
    shadow_percent=50, shadow_margin=0.1, canary_percents=(25,), worse_ratio=2.0, false_rollback=0.01,
    false_release=0.05, inference_p99_ms=100, stage_max_s=60, silent_after_s=100,
)  # fmt: skip
FIRST, SECOND = "a" * 64, "b" * 64
BOOT, LATER_BOOT = b"boot-one", b"boot-two"


def report(name: str, digest: str, **fields: Any) -> Report:
    """A report that attests a model, and says nothing else unless it is told to."""
    known: dict[str, Any] = {
        "vehicle_id": name, "boot": BOOT, "sequence": 0, "end_utc_ns": 0, "window_s": 1.0,
        "assignment": Assignment(digest, "", "", Cohort.CONTROL), "km": 0.0, "interventions": 0,
        "decisions": Decisions(), "faults": 0, "unusable": False, "inference_p99_ms": 1.0, "conditions": "",
    }  # fmt: skip
    return Report(**known | fields)


class Fleet:
    """The controller's database with a few shorthands; `at_s` is the clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sequences: dict[str, int] = {}

    def pass_model(self, digest: str, at_s: float) -> bool:
        run = training_pb2.RunChanged(model_digest=digest, run_id=f"run-{digest[0]}", reasons=["good"])

        def work(tx: Transaction) -> bool:
            new = transactions.register(tx, passed_run(run), round(at_s * S))
            tx.session.get_one(ModelRow, digest).published = True
            return new

        return self.database.run_now(work)

    def begin(self, at_s: float) -> Rollout | None:
        return self.database.run_now(lambda tx: moves.begin_next(tx, "demo", PLAN, round(at_s * S)))

    def move(self, stage: Stage, percent: int, at_s: float) -> None:
        def work(tx: Transaction) -> None:
            rollout = queries.open_row(tx)
            assert rollout is not None
            moves.carry_out(tx, rollout, Move(stage, percent, ("why",)), "demo", PLAN, round(at_s * S))

        self.database.run_now(work)

    def attest(
        self, name: str, digest: str, at_s: float, *, boot: bytes = BOOT, sequence: int = -1, end_s: float = -1
    ) -> Rollout | None:
        if sequence < 0:
            sequence = self.sequences[name] = self.sequences.get(name, -1) + 1
        said = report(
            name, digest, boot=boot, sequence=sequence, end_utc_ns=round((at_s if end_s < 0 else end_s) * S)
        )
        return self.database.run_now(lambda tx: transactions.record_report(tx, said, "demo", PLAN, round(at_s * S)))

    def vehicle(self, name: str) -> VehicleRow:
        return self.database.run_now(lambda tx: tx.session.get_one(VehicleRow, name))

    def vehicles(self) -> list[VehicleRow]:
        return self.database.run_now(lambda tx: list(tx.session.scalars(sa.select(VehicleRow))))

    def complete(self, at_s: int) -> Rollout | None:
        return self.database.run_now(lambda tx: transactions.complete_rollout(tx, PLAN, at_s * S))

    def act(
        self, event: Event, rollout_id: str, at_s: float, plan: RolloutPlan = PLAN, by: str = "user/ann"
    ) -> Rollout:
        action = Action(by, "odd", "demo", plan, round(at_s * S))
        return self.database.run_now(lambda tx: actions.act(tx, event, rollout_id, action))

    def back(self, rollout_id: str, at_s: float) -> None:
        self.act(Event.ROLL_BACK, rollout_id, at_s)

    def after(self, token: int) -> list[int]:
        found = self.database.read_now(lambda tx: queries.changes_after(tx, token))
        return [change.sequence for change in found]

    def stages(self) -> list[tuple[str, Stage]]:
        changes = self.database.read_now(lambda tx: queries.changes_after(tx, 0))
        return [(change.model_digest, change.stage) for change in changes]

    def commands(self) -> list[command_pb2.VehicleCommand]:
        rows = self.database.run_now(lambda tx: list(tx.session.scalars(sa.select(OutboxRow))))
        return [command_pb2.VehicleCommand.FromString(row.payload) for row in rows if "command" in row.topic]


@pytest.fixture
def fleet(database_url: str) -> Iterator[Fleet]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield Fleet(database)
    database.close()


def test_a_model_is_registered_and_announced_once(fleet: Fleet) -> None:
    assert fleet.pass_model(FIRST, 1)
    assert not fleet.pass_model(FIRST, 2)
    assert fleet.stages() == [(FIRST, Stage.REGISTERED)]


def test_the_first_model_goes_to_all_vehicles_and_each_is_told_once(fleet: Fleet) -> None:
    for name in ("car-1", "car-2"):
        fleet.attest(name, "", 1)
    fleet.pass_model(FIRST, 2)
    assert fleet.begin(3) is not None
    assert fleet.begin(4) is None, "it drives, there is nothing to begin"
    assert {(v.active, v.shadow, v.cohort) for v in fleet.vehicles()} == {(FIRST, "", Cohort.CONTROL.value)}
    assert sorted(command.vehicle_id for command in fleet.commands()) == ["car-1", "car-2"]
    fleet.attest("car-3", "", 5)  # one that comes later gets it at once
    assert fleet.vehicle("car-3").active == FIRST


def test_the_newest_candidate_is_taken_and_an_overtaken_one_never(fleet: Fleet) -> None:
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    fleet.pass_model(SECOND, 2)
    fleet.pass_model("c" * 64, 3)
    begun = fleet.begin(4)
    assert begun is not None and begun.digest == "c" * 64
    fleet.move(Stage.ROLLED_BACK, 0, 5)
    assert fleet.begin(6) is None


def test_a_vehicle_that_is_new_sends_no_canary_back(fleet: Fleet) -> None:
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    for number in range(8):
        fleet.attest(f"car-{number}", FIRST, 2)
    fleet.pass_model(SECOND, 3)
    fleet.begin(3)
    fleet.move(Stage.CANARY, 25, 4)
    canaries = {v.vehicle_id for v in fleet.vehicles() if v.active == SECOND}
    assert len(canaries) == 2
    for number in range(100, 140):
        fleet.attest(f"car-{number}", FIRST, 5)
        now = {v.vehicle_id for v in fleet.vehicles() if v.active == SECOND}
        assert canaries <= now
        canaries = now
    assert len(canaries) == 12


def test_shares_are_taken_of_the_vehicles_that_are_heard_from(fleet: Fleet) -> None:
    for number in range(40):
        fleet.attest(f"scrapped-{number}", FIRST, 1)
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    for number in range(4):
        fleet.attest(f"car-{number}", FIRST, 200)
    fleet.pass_model(SECOND, 201)
    fleet.begin(201)
    shadows = {v.vehicle_id for v in fleet.vehicles() if v.shadow == SECOND}
    assert len(shadows) == 2
    assert all(name.startswith("car-") for name in shadows)


def test_a_canary_that_falls_silent_keeps_its_model_and_counts_towards_no_share(fleet: Fleet) -> None:
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    for number in range(4):
        fleet.attest(f"car-{number}", FIRST, 2)
    fleet.pass_model(SECOND, 3)
    fleet.begin(3)
    fleet.move(Stage.CANARY, 25, 4)
    (silent,) = {v.vehicle_id for v in fleet.vehicles() if v.active == SECOND}
    others = [f"car-{number}" for number in range(4) if f"car-{number}" != silent]
    for name in others:
        fleet.attest(name, FIRST, 150)
    fleet.attest("car-new", FIRST, 151)  # whereupon shares are taken again
    canaries = {v.vehicle_id for v in fleet.vehicles() if v.active == SECOND}
    assert silent in canaries
    assert len(canaries - {silent}) == 1


def test_the_last_vehicle_is_the_last_that_is_heard_from(fleet: Fleet) -> None:
    for name in ("car-1", "car-2", "scrapped"):
        fleet.attest(name, "", 1)
    fleet.pass_model(FIRST, 2)
    fleet.begin(2)
    assert fleet.attest("car-1", FIRST, 50) is None
    assert fleet.attest("car-2", FIRST, 60) is None
    assert fleet.complete(100) is None, "the scrapped one may yet come"
    finished = fleet.complete(102)
    assert finished is not None
    assert finished.last_attested_at_utc_ns == 60 * S, "when it happened, not when it was found out"
    assert fleet.complete(103) is None
    assert fleet.database.run_now(lambda tx: queries.silent_vehicles(tx, PLAN, 102 * S)) == 1
    fleet.attest("scrapped", "", 104)
    assert fleet.database.run_now(lambda tx: queries.silent_vehicles(tx, PLAN, 104 * S)) == 0


def test_a_fleet_of_silent_vehicles_attests_nothing(fleet: Fleet) -> None:
    fleet.attest("car-1", "", 1)
    fleet.pass_model(FIRST, 2)
    fleet.begin(2)
    assert fleet.complete(500) is None


def test_an_earlier_boots_late_report_does_not_undo_a_newer_attestation(fleet: Fleet) -> None:
    fleet.attest("car", FIRST, 10, boot=BOOT, sequence=5, end_s=10)
    fleet.attest("car", SECOND, 20, boot=LATER_BOOT, sequence=0, end_s=20)
    fleet.attest("car", FIRST, 21, boot=BOOT, sequence=6, end_s=12)  # spooled, and sent after the new boot's
    assert fleet.vehicle("car").attested == SECOND
    fleet.attest("car", FIRST, 22, boot=LATER_BOOT, sequence=0, end_s=30)  # a repeat
    assert fleet.vehicle("car").attested == SECOND
    fleet.attest("car", FIRST, 23, boot=LATER_BOOT, sequence=1, end_s=23)
    assert fleet.vehicle("car").attested == FIRST


def test_a_clock_that_ran_ahead_does_not_silence_the_boots_after_it(fleet: Fleet) -> None:
    fleet.attest("car", FIRST, 10, boot=BOOT, sequence=0, end_s=10_000)
    fleet.attest("car", SECOND, 20, boot=LATER_BOOT, sequence=0, end_s=19)
    assert fleet.vehicle("car").attested == SECOND


def test_a_rollback_by_hand_brings_back_the_model_before(fleet: Fleet) -> None:
    fleet.attest("car", "", 1)
    fleet.pass_model(FIRST, 1)
    first = fleet.begin(1)
    assert first is not None
    with pytest.raises(RefusedError, match="no model was released before it"):
        fleet.back(first.rollout_id, 2)
    with pytest.raises(RefusedError, match="no such rollout"):
        fleet.back("nowhere", 2)
    fleet.pass_model(SECOND, 3)
    second = fleet.begin(3)
    assert second is not None
    fleet.move(Stage.CANARY, 25, 4)
    fleet.move(Stage.RELEASED, 100, 4)
    assert fleet.vehicle("car").active == SECOND
    fleet.back(second.rollout_id, 5)
    assert fleet.vehicle("car").active == FIRST
    assert fleet.stages()[-1] == (SECOND, Stage.ROLLED_BACK)
    with pytest.raises(RefusedError, match=r"is rolled back, .* `roll back`; possible now: retry"):
        fleet.back(second.rollout_id, 6)


def test_changes_are_read_on_from_a_token(fleet: Fleet) -> None:
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    assert fleet.after(0) == [1, 2]
    assert fleet.after(1) == [2]
    assert fleet.after(2) == []


def test_each_model_is_listed_by_its_latest_change_a_page_at_a_time(fleet: Fleet) -> None:
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    fleet.pass_model(SECOND, 2)
    fleet.begin(2)
    fleet.move(Stage.ROLLED_BACK, 0, 3)
    fleet.pass_model("c" * 64, 4)
    listed, more = fleet.database.read_now(lambda tx: queries.models(tx, Page(2, None)))
    assert [model.model_digest[0] for model in listed] == ["c", "b"]
    assert listed[1].stage == Stage.ROLLED_BACK
    page = page_of(2, more)
    assert [m.model_digest[0] for m in fleet.database.read_now(lambda tx: queries.models(tx, page))[0]] == ["a"]


def test_superseded_changes_are_pruned_and_the_sequence_goes_on(fleet: Fleet) -> None:
    fleet.pass_model(FIRST, 1)
    fleet.begin(2)
    fleet.pass_model(SECOND, 100)
    fleet.begin(101)
    prune = lambda tx: transactions.prune_changes(tx, 150 * S, 10, keep_s=100)  # noqa: E731
    assert fleet.database.run_now(prune) == 1
    assert fleet.after(0) == [2, 3, 4], "registered is pruned; the latest of a model stays, and what is young"
    assert fleet.database.run_now(lambda tx: transactions.prune_changes(tx, 10**6 * S, 10, keep_s=100)) == 1
    assert fleet.after(0) == [2, 4]
    fleet.move(Stage.ROLLED_BACK, 0, 10**6)
    assert fleet.after(0) == [2, 4, 5]


def test_of_publications_the_newest_and_those_not_done_stay(fleet: Fleet) -> None:
    def publish(tx: Transaction) -> None:
        for number, done in ((1, True), (2, False), (3, True)):
            tx.session.add(
                PublicationRow(
                    number=number, signed_at_utc_ns=1, digests="[]", cosigner="", cosignature=b"", done=done
                )
            )

    fleet.database.run_now(publish)
    fleet.database.run_now(lambda tx: transactions.prune_changes(tx, 10**9 * S, 10, keep_s=1))
    numbers = fleet.database.read_now(lambda tx: sorted(tx.session.scalars(sa.select(PublicationRow.number))))
    assert numbers == [2, 3]

"""Where the policy says so, a canary is released only once a person approved it who did not train its model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.composed import composed, config_with_second_person
from tests.unit.rollout_controller import test_core, test_transactions
from tests.unit.rollout_controller.test_transactions import FIRST, SECOND, Fleet

from fleetloop.domain.sequential import Score
from fleetloop.embedded.ceremony import hold_ceremony
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError, PermissionDeniedError
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import queries, transactions
from rollout_controller.codec import passed_run
from rollout_controller.core import WAITS_FOR_APPROVAL, next_move
from rollout_controller.lifecycle import Event
from rollout_controller.model import Evidence, Rollout, RolloutPlan, Stage
from rollout_controller.settings import RolloutControllerSettings
from rollout_controller.store import Base, ModelRow

PLAN = replace(test_core.PLAN, canary_percents=(10,), needs_approval=True)
GOOD = Evidence(score=Score(in_favour=10.0))
BAD = Evidence(score=Score(against=10.0, in_favour=10.0))
APPROVING = replace(test_transactions.PLAN, needs_approval=True)


def test_a_good_canary_waits_for_approval_without_a_time_limit() -> None:
    late = replace(test_core.CANARY, running_s=1e9)
    move = next_move(late, PLAN, GOOD)
    assert (move.stage, move.canary_percent, move.stays) == (Stage.CANARY, 10, True)
    assert move.reasons[0] == WAITS_FOR_APPROVAL
    assert next_move(test_core.CANARY, PLAN, GOOD, "user/ann").stage is Stage.RELEASED
    assert next_move(test_core.CANARY, replace(PLAN, needs_approval=False), GOOD).stage is Stage.RELEASED


@pytest.mark.parametrize("approved_by", ["", "user/ann"])
def test_an_approval_does_not_outweigh_evidence(approved_by: str) -> None:
    assert next_move(test_core.CANARY, PLAN, BAD, approved_by).stage is Stage.ROLLED_BACK
    assert next_move(test_core.CANARY, PLAN, test_core.NOTHING, approved_by).stays


def test_more_canaries_need_no_approval() -> None:
    more = replace(PLAN, canary_percents=(10, 50))
    assert next_move(test_core.CANARY, more, GOOD).canary_percent == 50


@pytest.fixture
def fleet(database_url: str) -> Iterator[Fleet]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    fleet = Fleet(database)
    fleet.pass_model(FIRST, 1)
    fleet.begin(1)
    run = training_pb2.RunChanged(model_digest=SECOND, run_id="run-b", started_by="user/bob")

    def train(tx: Transaction) -> None:
        transactions.register(tx, passed_run(run), 2)
        tx.session.get_one(ModelRow, SECOND).published = True

    database.run_now(train)
    fleet.begin(3)
    yield fleet
    database.close()


def _approve(fleet: Fleet, by: str, rollout_id: str = "", plan: RolloutPlan = APPROVING) -> Rollout:
    rollout = fleet.database.read_now(queries.open_rollout)
    assert rollout is not None
    return fleet.act(Event.APPROVE, rollout_id or rollout.rollout_id, 5, plan, by)


def test_the_person_who_started_the_training_run_cannot_approve_its_release(fleet: Fleet) -> None:
    fleet.move(Stage.CANARY, 25, 4)
    with pytest.raises(PermissionDeniedError, match="user/bob started the training run of this model"):
        _approve(fleet, "user/bob")
    assert _approve(fleet, "user/ann").approved_by == "user/ann"
    assert _approve(fleet, "user/cat").approved_by == "user/ann", "the first approval counts"


def test_only_a_canary_can_be_approved_and_only_where_the_policy_asks_for_it(fleet: Fleet) -> None:
    with pytest.raises(FailedPreconditionError, match="is in shadow, which does not allow a person to `approve`"):
        _approve(fleet, "user/ann")
    with pytest.raises(NotFoundError, match="no such rollout"):
        _approve(fleet, "user/ann", "other")
    fleet.move(Stage.CANARY, 25, 4)
    with pytest.raises(FailedPreconditionError, match="need no approval"):
        _approve(fleet, "user/ann", plan=test_transactions.PLAN)


async def test_the_service_asks_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = hold_ceremony(tmp_path / "signing", datetime.now(UTC))
    for config, asks in ((Path("config"), False), (config_with_second_person(tmp_path), True)):
        settings = RolloutControllerSettings(
            kafka_bootstrap_servers="none:1", config_dir=config, objects_url=(tmp_path / "objects").as_uri(),
            signing_key=trust.rollout_key, trust_dir=trust.folder, training_orchestrator_address="none:1",
        )  # fmt: skip
        _, service = await composed("rollout_controller", settings, tmp_path, monkeypatch)
        assert service._plan.needs_approval is asks

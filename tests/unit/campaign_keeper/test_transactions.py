from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_keeper import transactions
from campaign_keeper.core import MOVES, compare, may_move, quota_is_met
from campaign_keeper.examination import examiner
from campaign_keeper.model import Count, State
from campaign_keeper.store import Base, OutboxRow
from fleet.campaign.v1 import campaign_pb2
from fleetdomain.signals import load_catalogue
from fleetkit.database import Database, Transaction
from fleetkit.rpc import RpcError

CONFIG = Path(__file__).parents[3] / "config"
EXAMINE = examiner(load_catalogue(CONFIG / "signals.yaml"), 60.0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'keeper.db'}", Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def trigger(
    name: str = "fast", version: int = 1, expression: str = "Vehicle.Speed > 100 km/h", quota: int = 0
) -> campaign_pb2.TriggerDefinition:
    return campaign_pb2.TriggerDefinition(
        name=name,
        version=version,
        expression=expression,
        mode=campaign_pb2.TRIGGER_MODE_RISING_EDGE,
        min_interval_s=10,
        quota_labels=quota,
        sampling_fraction=1,
    )


def apply(
    database: Database, *triggers: campaign_pb2.TriggerDefinition, dry_run: bool = False
) -> campaign_pb2.ApplyCampaignResponse:
    request = campaign_pb2.ApplyCampaignRequest(
        campaign=campaign_pb2.Campaign(campaign="c", triggers=triggers), dry_run=dry_run
    )
    return database.run_now(lambda tx: transactions.apply(tx, request, 5, EXAMINE))


def announced(database: Database) -> list[campaign_pb2.Campaign]:
    rows = database.run_now(lambda tx: list(tx.session.scalars(sa.select(OutboxRow).order_by(OutboxRow.row_id))))
    return [campaign_pb2.Campaign.FromString(row.payload) for row in rows]


def test_a_campaign_comes_into_force_and_the_same_again_changes_nothing(database: Database) -> None:
    assert list(apply(database, trigger()).added) == ["fast"]
    assert apply(database, trigger()).campaign.revision == 1
    (campaign,) = announced(database)
    assert (campaign.revision, campaign.state) == (1, campaign_pb2.CAMPAIGN_STATE_RUNNING)


def test_a_dry_run_says_what_would_change_and_changes_nothing(database: Database) -> None:
    assert list(apply(database, trigger(), dry_run=True).added) == ["fast"]
    assert announced(database) == []


def test_a_changed_trigger_needs_a_higher_version(database: Database) -> None:
    apply(database, trigger())
    refused = apply(database, trigger(expression="Vehicle.Speed > 90 km/h"))
    assert [problem.field for problem in refused.problems] == ["version"]
    taken = apply(database, trigger(version=2, expression="Vehicle.Speed > 90 km/h"))
    assert list(taken.changed) == ["fast"]
    assert [campaign.revision for campaign in announced(database)] == [1, 2]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("Vehicle.Sped > 100 km/h", "Vehicle.Sped"),
        ("Vehicle.Speed > 100 kg", "kg"),
        ("max(Vehicle.Speed, 900 s) > 1 km/h", "60"),
        ("Vehicle.Speed >", "^"),
    ],
)
def test_every_problem_comes_back_with_its_field_and_nothing_changes(
    database: Database, expression: str, says: str
) -> None:
    response = apply(database, trigger(expression=expression), trigger("good"))
    assert [(p.trigger, p.field) for p in response.problems] == [("fast", "expression")]
    assert says in response.problems[0].message
    assert announced(database) == []


def test_a_campaign_moves_only_as_allowed(database: Database) -> None:
    apply(database, trigger())

    def move(state: campaign_pb2.CampaignState.ValueType) -> None:
        request = campaign_pb2.SetCampaignStateRequest(campaign="c", state=state)
        database.run_now(lambda tx: transactions.set_state(tx, request, 6))

    move(campaign_pb2.CAMPAIGN_STATE_SUSPENDED)
    move(campaign_pb2.CAMPAIGN_STATE_FINISHED)
    with pytest.raises(RpcError, match="a campaign that is finished can go to: none"):
        move(campaign_pb2.CAMPAIGN_STATE_RUNNING)
    assert [c.state for c in announced(database)][-1] == campaign_pb2.CAMPAIGN_STATE_FINISHED


def test_a_finished_campaign_stays_finished() -> None:
    for state in State:
        assert may_move(state, state)
        assert may_move(State.FINISHED, state) is (state is State.FINISHED)
    assert set(MOVES) == set(State)


def test_the_ledger_follows_a_firing_by_its_id(database: Database) -> None:
    apply(database, trigger())
    database.run_now(lambda tx: transactions.note_firing(tx, "f1", "c", "fast", 1, 7))
    database.run_now(lambda tx: transactions.count_for_firing(tx, "f1", Count.CLIPS))
    database.run_now(lambda tx: transactions.count_for_firing(tx, "f1", Count.CLIP_BYTES, 1000))
    assert database.run_now(lambda tx: transactions.count_for_firing(tx, "unknown", Count.CLIPS)) is None
    (entry,) = database.run_now(transactions.ledger)
    assert (entry.fired, entry.clips, entry.clip_bytes, entry.tasks) == (1, 1, 1000, 0)


def test_a_trigger_leaves_its_campaign_when_its_quota_is_met(database: Database) -> None:
    apply(database, trigger(quota=2), trigger("other"))
    for number in (1, 2):
        firing_id = f"f{number}"
        database.run_now(lambda tx, f=firing_id: transactions.note_firing(tx, f, "c", "fast", 1, 7))  # type: ignore[misc]
        counted = database.run_now(lambda tx, f=firing_id: transactions.count_for_firing(tx, f, Count.LABELLED))  # type: ignore[misc]
        assert counted is not None
        closed = database.run_now(lambda tx, c=counted: transactions.close_when_met(tx, c[0], c[1], 8))  # type: ignore[misc]
        assert closed is (number == 2)
    assert [t.name for t in announced(database)[-1].triggers] == ["other"]


def test_the_last_trigger_ends_its_campaign_and_labels_of_an_older_version_end_nothing(database: Database) -> None:
    apply(database, trigger(version=2, quota=1))

    def label(version: int) -> bool:
        def work(tx: Transaction) -> bool:
            transactions.note_firing(tx, f"f{version}", "c", "fast", version, 7)
            counted = transactions.count_for_firing(tx, f"f{version}", Count.LABELLED)
            assert counted is not None
            return transactions.close_when_met(tx, *counted, 8)

        return database.run_now(work)

    assert not label(version=1)
    assert label(version=2)
    assert announced(database)[-1].state == campaign_pb2.CAMPAIGN_STATE_FINISHED
    assert not label(version=3)


def test_comparing_and_quotas() -> None:
    change = compare({"a": (1, b"x"), "b": (1, b"y")}, {"b": (1, b"z"), "c": (1, b"")})
    assert (change.added, change.changed, change.removed, change.stale) == (("c",), (), ("a",), ("b",))
    assert not quota_is_met(10, 0)
    assert quota_is_met(2, 2)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_keeper import queries
from campaign_keeper.codec import applied_message, campaign_message, campaign_of, process_message, report_of, state_of
from campaign_keeper.core import MOVES, compare, may_move, quota_is_met
from campaign_keeper.examination import examiner
from campaign_keeper.model import Count, Origin, State
from campaign_keeper.store import Base, OutboxRow
from campaign_keeper.transactions import campaigns, ledger, reports
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.campaign.v1 import campaign_pb2

CONFIG = Path(__file__).parents[3] / "config"
EXAMINE = examiner(load_catalogue(CONFIG / "signals.yaml"), load_task_schema(CONFIG / "tasks.yaml"), 60.0)
RUNNING, WAITING = campaign_pb2.CAMPAIGN_STATE_RUNNING, campaign_pb2.CAMPAIGN_STATE_WAITING
DRAFT, SUSPENDED = campaign_pb2.CAMPAIGN_STATE_DRAFT, campaign_pb2.CAMPAIGN_STATE_SUSPENDED
FINISHED = campaign_pb2.CAMPAIGN_STATE_FINISHED


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
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
    database: Database,
    *triggers: campaign_pb2.TriggerDefinition,
    dry_run: bool = False,
    campaign: str = "c",
    state: campaign_pb2.CampaignState.ValueType = campaign_pb2.CAMPAIGN_STATE_UNSPECIFIED,
    by: str = "user/ann",
    second_person: bool = False,
) -> campaign_pb2.ApplyCampaignResponse:
    wanted = campaign_of(campaign_pb2.Campaign(campaign=campaign, triggers=triggers, state=state))
    carry_out = database.read_now if dry_run else database.run_now
    return applied_message(carry_out(lambda tx: campaigns.apply(tx, wanted, dry_run, 5, EXAMINE, by, second_person)))


def move(
    database: Database, state: campaign_pb2.CampaignState.ValueType, by: str = "user/ann", at: int = 6
) -> campaign_pb2.Campaign:
    moved = database.run_now(lambda tx: campaigns.set_state(tx, "c", state_of(state), None, "r", at, by))
    return campaign_message(moved)


def resume(database: Database, by: str = "user/ann") -> campaign_pb2.Campaign:
    return campaign_message(database.run_now(lambda tx: campaigns.resume_trigger(tx, "c", "fast", "", 9, by)))


def label(database: Database, number: int, version: int = 1, trigger: str = "fast") -> bool:
    """One more label of a trigger; whether that ended it."""

    def work(tx: Transaction) -> bool:
        ledger.record_firing(tx, f"f{number}", "c", trigger, version, 7)
        counted = ledger.count_for_firing(tx, f"f{number}", Count.LABELLED, 7)
        assert counted is not None
        return campaigns.end_when_quota_is_met(
            tx, counted.campaign, counted.trigger, counted.version, counted.value, 8
        )

    return database.run_now(work)


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
    move(database, SUSPENDED)
    move(database, FINISHED)
    with pytest.raises(RefusedError, match="a campaign that is finished can go to: draft"):
        move(database, RUNNING)
    assert [c.state for c in announced(database)][-1] == FINISHED


def test_only_these_moves_are_allowed() -> None:
    allowed = {(now, then) for now in State for then in State if now is not then and may_move(now, then)}
    assert allowed == {
        (State.DRAFT, State.WAITING),
        (State.DRAFT, State.FINISHED),
        (State.WAITING, State.RUNNING),
        (State.WAITING, State.DRAFT),
        (State.WAITING, State.FINISHED),
        (State.RUNNING, State.SUSPENDED),
        (State.RUNNING, State.FINISHED),
        (State.SUSPENDED, State.RUNNING),
        (State.SUSPENDED, State.FINISHED),
        (State.FINISHED, State.DRAFT),
    }
    assert set(MOVES) == set(State)


def test_from_a_draft_to_running_somebody_approves_and_is_named(database: Database) -> None:
    drafted = apply(database, trigger(), state=DRAFT).campaign
    assert (drafted.state, drafted.changed_by, drafted.approved_by) == (DRAFT, "user/ann", "")
    with pytest.raises(RefusedError, match="a campaign that is draft can go to: finished, waiting"):
        move(database, RUNNING)
    assert move(database, WAITING).approved_by == ""
    running = move(database, RUNNING, by="user/ben", at=77)
    assert (running.state, running.approved_by, running.approved_at_utc_ns) == (RUNNING, "user/ben", 77)
    assert move(database, SUSPENDED, by="user/eve").approved_by == "user/ben"
    assert move(database, RUNNING, by="user/eve").approved_by == "user/ben"
    history = database.run_now(lambda tx: queries.revisions(tx, "c"))
    assert [each.changed_by for each in history] == ["user/eve", "user/eve", "user/ben", "user/ann", "user/ann"]


def test_what_changes_while_it_waits_is_a_draft_again(database: Database) -> None:
    apply(database, trigger(), state=DRAFT)
    move(database, WAITING)
    assert apply(database, trigger()).campaign.state == WAITING
    assert apply(database, trigger(version=2, expression="Vehicle.Speed > 90 km/h")).campaign.state == DRAFT


def test_a_name_belongs_to_one_campaign(database: Database) -> None:
    apply(database, trigger())
    refused = apply(database, trigger(), campaign="other")
    assert [(p.trigger, p.field) for p in refused.problems] == [("fast", "name")]
    move(database, FINISHED)
    assert apply(database, trigger(), campaign="other").campaign.revision == 1
    with pytest.raises(RefusedError, match="the campaign other has a trigger of this name"):
        move(database, DRAFT)


def test_a_task_or_camera_that_does_not_exist_is_refused(database: Database) -> None:
    wrong = trigger()
    wrong.task = "bicycle"
    wrong.cameras.append("periscope")
    assert [p.field for p in apply(database, wrong).problems] == ["task", "cameras"]


def test_old_revisions_go(database: Database) -> None:
    apply(database, trigger())
    for number in range(queries.REVISIONS_KEPT + 5):
        move(database, RUNNING if number % 2 else SUSPENDED)
    history = database.run_now(lambda tx: queries.revisions(tx, "c", 10_000))
    assert [history[0].revision, history[-1].revision] == [queries.REVISIONS_KEPT + 6, 7]


def test_the_ledger_follows_a_firing_by_its_id(database: Database) -> None:
    apply(database, trigger())
    database.run_now(lambda tx: ledger.record_firing(tx, "f1", "c", "fast", 1, 7))
    database.run_now(lambda tx: ledger.count_for_firing(tx, "f1", Count.CLIPS, 8))
    database.run_now(lambda tx: ledger.count_for_firing(tx, "f1", Count.CLIP_BYTES, 8, 1000))
    (entry,) = database.run_now(queries.ledger)
    assert (entry.fired, entry.clips, entry.clip_bytes, entry.tasks) == (1, 1, 1000, 0)


def test_a_clip_that_is_read_before_its_firing_waits_for_it(database: Database) -> None:
    def clip(tx: Transaction) -> None:
        assert ledger.count_for_firing(tx, "f1", Count.CLIP_BYTES, 6, 500) is None

    database.run_now(clip)
    database.run_now(clip)
    assert database.run_now(queries.ledger) == []
    database.run_now(lambda tx: ledger.record_firing(tx, "f1", "c", "fast", 1, 7))
    (entry,) = database.run_now(queries.ledger)
    assert (entry.fired, entry.clip_bytes) == (1, 1000)


def test_what_names_its_trigger_needs_no_firing_and_the_rest_is_pruned_in_time(database: Database) -> None:
    origin = Origin(firing_id="f1", trigger="fast", trigger_version=3, campaign="c")

    def work(tx: Transaction) -> None:
        ledger.record_firing(tx, "f1", "c", "fast", 3, 10)
        ledger.record_firing(tx, "f2", "c", "fast", 3, 30)
        ledger.count_for_firing(tx, "never", Count.CLIPS, 10)
        for prune in (ledger.prune_firings, ledger.prune_early):
            assert prune(tx, 20 + 5 * 10**9, 500, keep_s=5) == 1
            assert prune(tx, 20 + 5 * 10**9, 500, keep_s=5) == 0
        ledger.count_for_origin(tx, origin, Count.TASKS, 40)
        ledger.count_for_trigger(tx, "fast", 3, Count.KEPT, 5)
        assert ledger.count_for_firing(tx, "f2", Count.CLIPS, 40) is not None

    database.run_now(work)
    (entry,) = database.run_now(queries.ledger)
    assert (entry.fired, entry.tasks, entry.kept, entry.clips) == (2, 1, 5, 1)


def test_a_trigger_ends_when_its_quota_is_met(database: Database) -> None:
    apply(database, trigger(quota=2), trigger("other"))
    assert [label(database, number) for number in (1, 2)] == [False, True]
    campaign = announced(database)[-1]
    assert [t.name for t in campaign.triggers] == ["other"]
    assert [(f.trigger.name, f.finished_at_utc_ns) for f in campaign.finished] == [("fast", 8)]


def test_the_last_trigger_ends_its_campaign_and_labels_of_an_older_version_end_nothing(database: Database) -> None:
    apply(database, trigger(version=2, quota=1))
    assert not label(database, 1, version=1)
    assert label(database, 2, version=2)
    assert announced(database)[-1].state == FINISHED
    assert not label(database, 3, version=3)


def test_the_same_files_again_do_not_bring_back_what_has_its_labels(database: Database) -> None:
    apply(database, trigger(quota=1), trigger("other"))
    assert label(database, 1)
    again = apply(database, trigger(quota=1), trigger("other"))
    assert (list(again.finished), list(again.added), again.campaign.revision) == (["fast"], [], 2)
    more = apply(database, trigger(quota=1), trigger("other"), trigger("third"))
    assert [t.name for t in more.campaign.triggers] == ["other", "third"]
    assert [f.trigger.name for f in more.campaign.finished] == ["fast"]
    stale = apply(database, trigger(quota=9), trigger("other"), trigger("third"))
    assert [p.field for p in stale.problems] == ["version"]


def test_a_higher_version_or_a_person_starts_it_again_and_its_quota_restarts_at_zero(database: Database) -> None:
    apply(database, trigger(quota=1), trigger("other"))
    assert label(database, 1)
    newer = apply(database, trigger(quota=1, version=2), trigger("other"))
    assert sorted((t.name, t.version) for t in newer.campaign.triggers) == [("fast", 2), ("other", 1)]
    assert label(database, 2, version=2)
    resumed = resume(database)
    assert sorted(t.name for t in resumed.triggers) == ["fast", "other"]
    assert list(resumed.finished) == []
    with pytest.raises(RefusedError, match="it has not ended"):
        resume(database)
    assert label(database, 3, version=2)


def test_resuming_the_last_trigger_of_a_campaign_lets_it_run_again(database: Database) -> None:
    apply(database, trigger(quota=1))
    assert label(database, 1)
    resumed = resume(database, "user/ben")
    assert (resumed.state, resumed.approved_by) == (RUNNING, "user/ben")


def test_who_is_silent_is_not_in_force(database: Database) -> None:
    def report(name: str, at_s: int) -> None:
        message = campaign_pb2.ReportInForceRequest(reporter=name, vehicles=at_s)
        database.run_now(lambda tx: reports.record_report(tx, report_of(message, at_s * 10**9)))

    report("one", 100)
    report("two", 150)
    report("one", 200)
    alive = [process_message(each) for each in database.read_now(lambda tx: queries.in_force(tx, 205 * 10**9))]
    assert [(p.report.reporter, p.report.vehicles) for p in alive] == [("one", 200), ("two", 150)]
    assert [each.reporter for each in database.read_now(lambda tx: queries.in_force(tx, 230 * 10**9))] == ["one"]


def test_comparing_and_quotas() -> None:
    change = compare({"a": (1, b"x"), "b": (1, b"y")}, {"b": (1, b"z"), "c": (1, b"")})
    assert (change.added, change.changed, change.removed, change.stale) == (("c",), (), ("a",), ("b",))
    assert not quota_is_met(10, 0)
    assert quota_is_met(2, 2)
    assert not quota_is_met(3, 2, counted_from=2)
    assert quota_is_met(4, 2, counted_from=2)

"""Where the configuration says so, no one starts a campaign of their own, in any order of calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.composed import composed, config_with_second_person

from campaign_keeper import queries
from campaign_keeper.codec import campaign_of
from campaign_keeper.model import Campaign, State
from campaign_keeper.settings import CampaignKeeperSettings
from campaign_keeper.store import Base
from campaign_keeper.transactions import campaigns
from fleetloop.domain.access import load_access
from fleetloop.kit.refusal import PermissionDeniedError, RefusedError
from fleetloop.kit.storage.database import Database
from fleetloop.protos.campaign.v1 import campaign_pb2

ANN, BEN = "user/ann", "user/ben"
STATES = [None, State.DRAFT, State.WAITING, State.RUNNING, State.SUSPENDED, State.FINISHED]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def apply(database: Database, version: int, by: str, state: State | None = None, second: bool = True) -> Campaign:
    """Apply one trigger in this version, with a condition of its own."""
    expression = f"Vehicle.Speed > {version}"
    trigger = campaign_pb2.TriggerDefinition(name="fast", version=version, expression=expression, quota_labels=1)
    wanted = campaign_of(campaign_pb2.Campaign(campaign="c", triggers=[trigger]))
    asked = Campaign("c", state, wanted.triggers)
    return database.run_now(
        lambda tx: campaigns.apply(tx, asked, False, 5, lambda triggers: [], by, second_person=second)
    ).campaign


def move(database: Database, state: State, by: str) -> Campaign:
    return database.run_now(lambda tx: campaigns.set_state(tx, "c", state, None, "r", 6, by, second_person=True))


def test_an_author_cannot_approve_and_another_person_can(database: Database) -> None:
    assert apply(database, 1, ANN).state is State.WAITING, "it does not run by being applied"
    with pytest.raises(PermissionDeniedError, match=r"user/ann is an author of c.*fleetloop triggers approve c"):
        move(database, State.RUNNING, ANN)
    with pytest.raises(PermissionDeniedError, match="second person"):
        apply(database, 1, ANN, State.RUNNING)
    approved = move(database, State.RUNNING, BEN)
    assert (approved.state, approved.approved_by, approved.authors) == (State.RUNNING, BEN, (ANN,))


def test_who_changed_a_part_cannot_approve_the_whole(database: Database) -> None:
    apply(database, 1, ANN, State.DRAFT)
    apply(database, 2, BEN)
    move(database, State.WAITING, "user/cid")
    for author in (ANN, BEN):
        with pytest.raises(PermissionDeniedError):
            move(database, State.RUNNING, author)
    assert move(database, State.RUNNING, "user/cid").authors == (ANN, BEN)


def test_a_changed_campaign_waits_again_also_when_it_is_suspended(database: Database) -> None:
    apply(database, 1, ANN)
    move(database, State.RUNNING, BEN)
    assert apply(database, 2, BEN).state is State.WAITING
    with pytest.raises(PermissionDeniedError):
        move(database, State.RUNNING, BEN)
    move(database, State.RUNNING, ANN)
    move(database, State.SUSPENDED, BEN)
    assert apply(database, 3, BEN).state is State.WAITING


def test_a_campaign_that_was_never_approved_cannot_be_resumed_by_its_author(database: Database) -> None:
    apply(database, 1, ANN, State.SUSPENDED)
    with pytest.raises(PermissionDeniedError):
        move(database, State.RUNNING, ANN)
    with pytest.raises(PermissionDeniedError):
        apply(database, 1, ANN, State.RUNNING)
    assert move(database, State.RUNNING, BEN).approved_by == BEN


def test_stopping_harm_and_going_on_needs_one_person(database: Database) -> None:
    apply(database, 1, ANN)
    move(database, State.RUNNING, BEN)
    move(database, State.SUSPENDED, ANN)
    assert move(database, State.RUNNING, ANN).approved_by == BEN


def test_a_campaign_of_a_former_version_names_its_last_author(database: Database) -> None:
    apply(database, 1, ANN, State.WAITING, second=False)
    former = campaign_pb2.Campaign(
        campaign="c", state=campaign_pb2.CAMPAIGN_STATE_WAITING, changed_by=ANN, revision=1
    )
    former.triggers.add(name="fast", version=1)
    database.run_now(
        lambda tx: tx.session.execute(sa.text("update campaigns set message = :m"), {"m": former.SerializeToString()})
    )
    with pytest.raises(PermissionDeniedError):
        move(database, State.RUNNING, ANN)


def test_without_the_rule_a_campaign_runs_at_once(database: Database) -> None:
    assert apply(database, 1, ANN, second=False).state is State.RUNNING


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["change", "apply", "move", "resume", "quota"]),
            st.sampled_from([ANN, BEN, "user/cid"]),
            st.sampled_from(STATES),
        ),
        max_size=14,
    )
)
@settings(max_examples=400, deadline=None)
def test_in_no_order_of_calls_does_a_campaign_run_that_its_approver_wrote(
    steps: list[tuple[str, str, State | None]],
) -> None:
    database = Database("sqlite://", Base)
    Base.metadata.create_all(database.engine)
    version, writers, was_running = 1, set[str](), False
    for step, by, state in steps:
        with contextlib.suppress(RefusedError):
            if step == "change":
                apply(database, version + 1, by, state)
                version += 1
                writers = {by} if was_running else {*writers, by}
            elif step == "apply":
                new = database.run_now(lambda tx: queries.find_campaign(tx, "c")) is None
                apply(database, version, by, state)
                writers = {*writers, by} if new else writers
            elif step == "move" and state is not None:
                move(database, state, by)
            elif step == "resume":
                database.run_now(
                    lambda tx: campaigns.resume_trigger(tx, "c", "fast", "", 7, by, second_person=True)  # noqa: B023
                )
            elif step == "quota":
                database.run_now(
                    lambda tx: campaigns.end_when_quota_is_met(tx, "c", "fast", version, 99, 8)  # noqa: B023
                )
        found = database.run_now(lambda tx: queries.find_campaign(tx, "c"))
        if found is None:
            continue
        was_running = bool(found.approved_by)
        if found.state is State.RUNNING:
            assert found.approved_by, steps
            assert found.approved_by not in writers, steps
    database.close()


def test_the_configuration_turns_it_on(tmp_path: Path) -> None:
    content = yaml.safe_load(Path("config/access.yaml").read_text())
    assert load_access(Path("config")).second_person.campaigns is False
    content["second_person"] = {"campaigns": True, "test_sets": True}
    (tmp_path / "access.yaml").write_text(yaml.safe_dump(content))
    assert load_access(tmp_path).second_person.campaigns is True


async def test_the_service_asks_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for config, asks in ((Path("config"), False), (config_with_second_person(tmp_path), True)):
        settings = CampaignKeeperSettings(kafka_bootstrap_servers="none:1", config_dir=config)
        (service,) = await composed("campaign_keeper", settings, tmp_path, monkeypatch)
        assert service._second_person is asks

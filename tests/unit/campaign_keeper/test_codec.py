"""Campaigns as they are kept, and what makes two triggers equal."""

from __future__ import annotations

from campaign_keeper.codec import campaign_from, campaign_message, campaign_of, firing_in, trigger_message, trigger_of
from campaign_keeper.core import add_drops, contents
from campaign_keeper.model import Earnings, Origin
from fleetloop.domain.topics import TRIGGER
from fleetloop.kit.messaging.producer import Record
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

DEFINITION = campaign_pb2.TriggerDefinition(
    name="fast", version=3, expression="Vehicle.Speed > 100 km/h", mode=campaign_pb2.TRIGGER_MODE_ALWAYS,
    cameras=["front_main"], conditions={"a": "b", "c": "d"}, quota_labels=5, task="stop_sign",
    geofence=campaign_pb2.Geofence(radius_m=3),
)  # fmt: skip
MESSAGE = campaign_pb2.Campaign(
    campaign="c", revision=4, state=campaign_pb2.CAMPAIGN_STATE_RUNNING, triggers=[DEFINITION],
    in_force_from_utc_ns=5, published_at_utc_ns=6, reason="r", changed_by="user/ann", approved_by="user/ben",
    approved_at_utc_ns=7, authors=["user/ann", "user/cid"],
    finished=[campaign_pb2.FinishedTrigger(trigger=DEFINITION, reason="done", finished_at_utc_ns=8)],
)  # fmt: skip


def test_a_campaign_is_kept_with_every_field() -> None:
    assert {field.name for field, _ in MESSAGE.ListFields()} == set(MESSAGE.DESCRIPTOR.fields_by_name)
    assert campaign_message(campaign_of(MESSAGE)) == MESSAGE
    assert campaign_from(MESSAGE.SerializeToString()) == campaign_of(MESSAGE)


def test_a_trigger_knows_what_the_keeper_asks_of_it() -> None:
    trigger = trigger_of(DEFINITION)
    assert (trigger.name, trigger.version, trigger.task, trigger.cameras) == ("fast", 3, "stop_sign", ("front_main",))
    assert trigger.quota_labels == 5
    assert trigger_message(trigger) == DEFINITION


def test_triggers_that_differ_only_in_their_version_have_equal_content() -> None:
    newer = campaign_pb2.TriggerDefinition()
    newer.CopyFrom(DEFINITION)
    newer.version = 4
    (old_version, old), (new_version, new) = (contents([trigger_of(each)])["fast"] for each in (DEFINITION, newer))
    assert (old_version, new_version) == (3, 4)
    assert old == new
    newer.expression += " and true"
    assert trigger_of(newer).content != old


def test_a_firing_is_named_by_its_event() -> None:
    fired = trigger_pb2.TriggerFired(
        event_id="f1", provenance=provenance_pb2.Provenance(campaign="c", trigger="fast", trigger_version=2)
    )
    record = Record(TRIGGER, 0, 0, b"", fired.SerializeToString(), [], 0)
    assert firing_in(record) == Origin("f1", "c", "fast", 2)


def test_drops_are_added_to_the_newest_version_of_a_trigger() -> None:
    earnings = [Earnings("c", "fast", 1), Earnings("c", "fast", 2), Earnings("c", "slow", 1)]
    add_drops(earnings, {"fast": {"boring": 3}, "gone": {"boring": 1}})
    assert [each.dropped for each in earnings] == [{}, {"boring": 3}, {}]

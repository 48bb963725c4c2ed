"""Campaigns from the wire: what is damaged is left out by name, the rest counts."""

from __future__ import annotations

import pytest

from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.triggerlang.definition import to_definition
from fleetloop.triggerlang.trigger import Trigger
from trigger_detector.codec import campaign_of


def record(value: bytes) -> Record:
    return Record("fleet.campaign.v1", 0, 0, b"c", value, [], 0)


def test_a_campaign_is_read_and_a_trigger_without_a_mode_left_out() -> None:
    good, bad = (to_definition(Trigger(name, 1, "X > 1")) for name in ("good", "bad"))
    bad.mode = campaign_pb2.TRIGGER_MODE_UNSPECIFIED
    message = campaign_pb2.Campaign(
        campaign="c",
        revision=4,
        state=campaign_pb2.CAMPAIGN_STATE_RUNNING,
        triggers=[good, bad],
        in_force_from_utc_ns=9,
    )
    revision, problems = campaign_of(record(message.SerializeToString()))
    assert (revision.campaign, revision.revision, revision.running, revision.in_force_from_utc_ns) == (
        "c",
        4,
        True,
        9,
    )
    assert [t.name for t in revision.triggers] == ["good"]
    assert len(problems) == 1
    assert problems[0].startswith("bad: mode")


@pytest.mark.parametrize("state", ["DRAFT", "WAITING", "SUSPENDED", "FINISHED", "UNSPECIFIED"])
def test_only_a_running_campaign_runs(state: str) -> None:
    number = campaign_pb2.CampaignState.Value(f"CAMPAIGN_STATE_{state}")
    message = campaign_pb2.Campaign(campaign="c", revision=1, state=number)
    assert not campaign_of(record(message.SerializeToString()))[0].running


def test_rubbish_is_refused() -> None:
    with pytest.raises(UnreadableMessageError):
        campaign_of(record(b"\xff"))

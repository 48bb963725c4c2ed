"""Protobuf to the keeper's model and back."""

from __future__ import annotations

from collections.abc import Iterable

from campaign_keeper.model import State
from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import CAMPAIGN
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.protos.campaign.v1 import campaign_pb2

STATES = {
    State.DRAFT: campaign_pb2.CAMPAIGN_STATE_DRAFT,
    State.WAITING: campaign_pb2.CAMPAIGN_STATE_WAITING,
    State.RUNNING: campaign_pb2.CAMPAIGN_STATE_RUNNING,
    State.SUSPENDED: campaign_pb2.CAMPAIGN_STATE_SUSPENDED,
    State.FINISHED: campaign_pb2.CAMPAIGN_STATE_FINISHED,
}
_BY_NUMBER = {number: state for state, number in STATES.items()}


def state_of(number: campaign_pb2.CampaignState.ValueType) -> State | None:
    """The state, or None when the message gives none."""
    return _BY_NUMBER.get(number)


def contents_of(triggers: Iterable[campaign_pb2.TriggerDefinition]) -> dict[str, tuple[int, bytes]]:
    """Name -> (version, everything else as bytes), for comparison."""
    contents = {}
    for trigger in triggers:
        rest = campaign_pb2.TriggerDefinition()
        rest.CopyFrom(trigger)
        rest.ClearField("version")
        contents[trigger.name] = (trigger.version, rest.SerializeToString(deterministic=True))
    return contents


def finished_names(campaign: campaign_pb2.Campaign) -> list[str]:
    """Triggers of a campaign that have ended, sorted."""
    return sorted(each.trigger.name for each in campaign.finished)


def campaign_event(campaign: campaign_pb2.Campaign) -> Event:
    """The announcement of a revision."""
    event_id = causal_id("campaign", campaign.campaign, campaign.revision)
    return event_of(CAMPAIGN, campaign.campaign, event_id, campaign, campaign.published_at_utc_ns)

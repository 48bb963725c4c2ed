"""What the keeper does by the clock: shows in metrics what no event of its own sets."""

from __future__ import annotations

import asyncio

from campaign_keeper import transactions
from campaign_keeper.codec import STATES, state_of
from campaign_keeper.metrics import CAMPAIGN_TRIGGERS, DROPPED
from campaign_keeper.ports import Drops
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database
from fleetloop.protos.campaign.v1 import campaign_pb2

_METRICS_EVERY_S = 15.0


async def show(stopping: asyncio.Event, database: Database, drops: Drops) -> None:
    """Sets the gauges that no event sets."""
    while not stopping.is_set():
        for trigger, reasons in (await drops.dropped()).items():
            for reason, firings in reasons.items():
                DROPPED.labels(trigger, reason).set(firings)
        for campaign in await database.read(transactions.campaigns):
            show_campaign(campaign)
        await pause(stopping, _METRICS_EVERY_S)


def show_campaign(campaign: campaign_pb2.Campaign) -> None:
    """A campaign's triggers by the state that they are in."""
    now_in = state_of(campaign.state)
    for state in STATES:
        number = len(campaign.triggers) if state is now_in else 0
        CAMPAIGN_TRIGGERS.labels(campaign.campaign, state.value).set(number)
    CAMPAIGN_TRIGGERS.labels(campaign.campaign, "ended").set(len(campaign.finished))

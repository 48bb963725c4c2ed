"""What the keeper does periodically: it sets the gauges that no event of its own sets."""

from __future__ import annotations

import asyncio

from campaign_keeper import queries
from campaign_keeper.metrics import CAMPAIGN_TRIGGERS, DROPPED, EARNINGS
from campaign_keeper.model import Campaign, Count, State
from campaign_keeper.ports import Drops
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database

_GAUGES_EVERY_S = 15.0


class Worker:
    """Keeps the gauges of campaigns, of the ledger, and of what triage dropped."""

    def __init__(self, database: Database, drops: Drops) -> None:
        self._database = database
        self._drops = drops

    async def restore_gauges(self) -> None:
        """Set the gauges of the ledger from the database. Call it before the first event is counted."""
        for each in await self._database.read(queries.ledger):
            for count in Count:
                value = getattr(each, count.value)
                if value:
                    EARNINGS.labels(each.campaign, each.trigger, str(each.version), count.value).set(value)

    async def run(self, stopping: asyncio.Event) -> None:
        """Set the gauges until `stopping`."""
        while not stopping.is_set():
            await self.run_once()
            await pause(stopping, _GAUGES_EVERY_S)

    async def run_once(self) -> None:
        """Set the gauges."""
        for trigger, reasons in (await self._drops.dropped()).items():
            for reason, firings in reasons.items():
                DROPPED.labels(trigger, reason).set(firings)
        for campaign in await self._database.read(queries.campaigns):
            _show(campaign)


def _show(campaign: Campaign) -> None:
    for state in State:
        triggers = len(campaign.triggers) if state is campaign.state else 0
        CAMPAIGN_TRIGGERS.labels(campaign.campaign, state.value).set(triggers)
    CAMPAIGN_TRIGGERS.labels(campaign.campaign, "ended").set(len(campaign.finished))

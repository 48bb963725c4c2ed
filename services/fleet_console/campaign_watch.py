"""Campaigns, the ledger and what is in force, asked of the keeper once for all open pages of a session."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fleet_console.campaigns import TriggersView, triggers_view
from fleet_console.login.sessions import SessionEndedError
from fleet_console.peers import CampaignKeeper, PeerAwayError
from fleetloop.kit.process.clock import Clock, seconds_to_ns


class CampaignWatch:
    """The newest view; while the keeper is unavailable the last one, with the reason."""

    def __init__(self, keeper: CampaignKeeper, clock: Clock, poll_s: float) -> None:
        self._keeper = keeper
        self._clock = clock
        self._poll_ns = seconds_to_ns(poll_s)
        self._view = TriggersView()
        self._asked_ns = -self._poll_ns
        self._asking = asyncio.Lock()

    async def view(self) -> TriggersView:
        """A view that is at most one poll interval old. Never fails."""
        async with self._asking:
            if self._clock.monotonic_ns() - self._asked_ns >= self._poll_ns:
                self._view = await self._ask()
                self._asked_ns = self._clock.monotonic_ns()
        return self._view

    async def _ask(self) -> TriggersView:
        try:
            campaigns, earnings, processes = await self._keeper.ask()
        except SessionEndedError:
            return self._view
        except PeerAwayError as error:
            return replace(self._view, away=str(error))
        return triggers_view(campaigns, earnings, processes, self._clock.now_utc_ns())

"""What the router does periodically: it requests clips again that have not come, and gives up those that expired."""

from __future__ import annotations

import asyncio

from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction
from label_router import queries, transactions
from label_router.metrics import WAITING_CLIPS
from label_router.model import Routing


class Worker:
    """Follows up on requested clips. Its state is in the database, so the process may die at any point."""

    def __init__(self, database: Database, routing: Routing, clock: Clock) -> None:
        self._database = database
        self._routing = routing
        self._clock = clock

    async def run(self, stopping: asyncio.Event, every_s: float) -> None:
        """Work until `stopping`."""
        while not stopping.is_set():
            await self.run_once()
            await pause(stopping, every_s)

    async def run_once(self) -> None:
        """Set the gauge of clips that are waited for, and follow up on those that are overdue."""
        now_ns = self._clock.now_utc_ns()

        def has_overdue(tx: Transaction) -> bool:
            WAITING_CLIPS.set(queries.waiting_clips(tx))
            return queries.has_overdue_clips(tx, self._routing, now_ns)

        if await self._database.read(has_overdue):
            await self._database.run(lambda tx: transactions.follow_up_clips(tx, self._routing, now_ns))

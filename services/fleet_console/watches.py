"""What each session polls: one watch for all pages of a session, which ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fleet_console.campaign_watch import CampaignWatch
from fleet_console.login.rights import Rights
from fleet_console.login.sessions import Session, Visit
from fleet_console.peers import CampaignKeeper, Peers, Services
from fleet_console.worker import LoopWatch
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger

log = get_logger(__name__)


class Watches:
    """The watches of all sessions. The services are asked in the name and with the roles of each person."""

    def __init__(self, peers: Peers, rights: Rights, clock: Clock, poll_s: float, stopping: asyncio.Event) -> None:
        self._peers = peers
        self._rights = rights
        self._clock = clock
        self._poll_s = poll_s
        self._stopping = stopping
        self._loops: dict[Session, LoopWatch] = {}
        self._campaigns: dict[Session, CampaignWatch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def loop(self, visit: Visit) -> LoopWatch:
        """What the loop's page shows."""
        watch = self._loops.get(visit.session)
        if watch is None:
            watch = LoopWatch(Services(self._peers, visit, self._rights), self._clock, self._poll_s)
            self._loops[visit.session] = watch
            cancel = self._run(watch.run(self._stopping))
            visit.session.on_end.append(lambda: (self._loops.pop(visit.session, None), cancel()))
        return watch

    def campaigns(self, visit: Visit) -> CampaignWatch:
        """What the page of triggers shows."""
        watch = self._campaigns.get(visit.session)
        if watch is None:
            watch = CampaignWatch(CampaignKeeper(self._peers, visit), self._clock, self._poll_s)
            self._campaigns[visit.session] = watch
            visit.session.on_end.append(lambda: self._campaigns.pop(visit.session, None))
        return watch

    async def close(self) -> None:
        """End all polls."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        task = asyncio.create_task(work, name="loop_watch")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task.cancel

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("watch_failed", exc_info=error)

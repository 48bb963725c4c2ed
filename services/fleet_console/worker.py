"""Polls the services while the loop's page is open in a browser, and rests otherwise."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from fleet_console.core import view
from fleet_console.login.sessions import SessionEndedError
from fleet_console.model import Counts, Facts, LoopView
from fleet_console.rates import counts_of
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.pausing import pause

_RATE_WINDOW_NS = seconds_to_ns(20)
_WATCHED_NS = seconds_to_ns(6)


class Asking(Protocol):
    """Asks the services."""

    async def ask(self, last: Facts) -> Facts:
        """The newest facts. Raises SessionEndedError once the person's session has ended."""
        ...


class LoopWatch:
    """One for all pages of a session: the services are asked once, however many of them are open."""

    def __init__(self, services: Asking, clock: Clock, poll_s: float) -> None:
        self._services = services
        self._clock = clock
        self._poll_s = poll_s
        self._facts = Facts()
        self._counts: deque[Counts] = deque()
        self._wanted_ns = 0
        self._wake = asyncio.Event()

    def view(self) -> LoopView | None:
        """The loop at the last poll; None before the first. Every call keeps the polling going for a while."""
        self._wanted_ns = self._clock.monotonic_ns()
        self._wake.set()
        if not self._counts:
            return None
        earlier = self._counts[0] if len(self._counts) > 1 else None
        return view(self._facts, earlier, self._counts[-1], self._clock.now_utc_ns())

    async def run(self, stopping: asyncio.Event) -> None:
        """Poll until `stopping`, or until the session has ended."""
        while not stopping.is_set():
            if self._clock.monotonic_ns() - self._wanted_ns > _WATCHED_NS:
                self._counts.clear()  # a rate across a pause would be misleading
                self._wake.clear()
                await _first(stopping.wait(), self._wake.wait())
                continue
            try:
                self._facts = await self._services.ask(self._facts)
            except SessionEndedError:
                return
            self._counts.append(counts_of(self._facts, self._clock.monotonic_ns()))
            while self._counts[-1].at_monotonic_ns - self._counts[0].at_monotonic_ns > _RATE_WINDOW_NS:
                self._counts.popleft()
            await pause(stopping, self._poll_s)


async def _first(*events: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(event) for event in events]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()

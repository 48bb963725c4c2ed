"""Looks at the services again and again while somebody has the loop's page open; rests otherwise."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from fleet_console.core import view
from fleet_console.model import Counts, Facts, LoopView
from fleet_console.rates import counts_of
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.pausing import pause

_RATE_WINDOW_NS = seconds_to_ns(20)
_WATCHED_NS = seconds_to_ns(6)


class Looking(Protocol):
    """Who asks the services."""

    async def look(self, last: Facts) -> Facts:
        """The newest facts; never fails."""
        ...


class LoopWatch:
    """One for all pages: however many people look, the services are asked once."""

    def __init__(self, lookout: Looking, clock: Clock, poll_s: float) -> None:
        self._lookout = lookout
        self._clock = clock
        self._poll_s = poll_s
        self._facts = Facts()
        self._looks: deque[Counts] = deque()
        self._wanted_ns = 0
        self._wake = asyncio.Event()

    def view(self) -> LoopView | None:
        """The loop as it was at the last look; None before the first. Asking keeps the looks coming."""
        self._wanted_ns = self._clock.monotonic_ns()
        self._wake.set()
        if not self._looks:
            return None
        earlier = self._looks[0] if len(self._looks) > 1 else None
        return view(self._facts, earlier, self._looks[-1], self._clock.now_utc_ns())

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop."""
        while not stopping.is_set():
            if self._clock.monotonic_ns() - self._wanted_ns > _WATCHED_NS:
                self._looks.clear()  # a rate over the time when nobody looked would tell nobody anything
                self._wake.clear()
                await _first(stopping.wait(), self._wake.wait())
                continue
            self._facts = await self._lookout.look(self._facts)
            self._looks.append(counts_of(self._facts, self._clock.monotonic_ns()))
            while self._looks[-1].at_monotonic_ns - self._looks[0].at_monotonic_ns > _RATE_WINDOW_NS:
                self._looks.popleft()
            await pause(stopping, self._poll_s)


async def _first(*events: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(event) for event in events]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()

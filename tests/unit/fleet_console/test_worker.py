"""The services are asked only while somebody looks, once for everybody, and a rate needs two looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet_console.model import Facts
from fleet_console.worker import LoopWatch
from fleetloop.protos.campaign.v1 import campaign_pb2

S = 10**9


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.ns = 1000 * S

    def now_utc_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns


class Fleet:
    """Answers with ten firings more at every look, ten seconds later."""

    def __init__(self, clock: Hands) -> None:
        self.looks = 0
        self._clock = clock

    async def ask(self, last: Facts) -> Facts:
        self.looks += 1
        self._clock.ns += 10 * S
        earnings = [campaign_pb2.TriggerEarnings(trigger="t", fired=10 * self.looks)]
        return Facts(ledger=campaign_pb2.GetLedgerResponse(earnings=earnings), heard=frozenset({"campaign_keeper"}))


async def watched(test: Callable[[LoopWatch, Fleet], Awaitable[None]]) -> None:
    clock, stopping = Hands(), asyncio.Event()
    fleet = Fleet(clock)
    watch = LoopWatch(fleet, clock, poll_s=0.01)
    running = asyncio.create_task(watch.run(stopping))
    try:
        await test(watch, fleet)
    finally:
        stopping.set()
        await asyncio.wait_for(running, 5)


async def test_no_service_is_called_while_no_page_is_open() -> None:
    async def no_page(watch: LoopWatch, fleet: Fleet) -> None:
        await asyncio.sleep(0.1)
        assert fleet.looks == 0
        assert watch.view() is None  # this is a page
        await asyncio.sleep(0.2)
        assert fleet.looks == 1, "by then no page had asked for ten seconds"

    await watched(no_page)


async def test_two_looks_make_a_rate() -> None:
    async def somebody(watch: LoopWatch, fleet: Fleet) -> None:
        while fleet.looks < 3:
            watch.view()
            await asyncio.sleep(0.005)
        view = watch.view()
        assert view is not None
        triggers = next(stage for stage in view.stages if stage.name == "Triggers")
        assert triggers.rate == "1 firings/s"
        assert int(triggers.figure) >= 20

    await watched(somebody)

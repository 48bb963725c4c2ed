from __future__ import annotations

import asyncio
import time

import pytest

from fleetloop.kit.process.pausing import pause


async def test_a_pause_lasts_its_time_when_nothing_is_set() -> None:
    began = time.monotonic()
    assert await pause(asyncio.Event(), 0.05) is False
    assert time.monotonic() - began >= 0.04


async def test_a_pause_ends_as_soon_as_the_event_is_set() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stopping.set)
    began = time.monotonic()
    assert await pause(stopping, 60) is True
    assert time.monotonic() - began < 5


async def test_an_event_that_is_already_set_allows_no_pause() -> None:
    stopping = asyncio.Event()
    stopping.set()
    assert await asyncio.wait_for(pause(stopping, 60), 1) is True


async def test_other_tasks_run_between_two_passes_even_when_the_event_is_set() -> None:
    stopping, passes = asyncio.Event(), 0
    stopping.set()
    other = asyncio.create_task(asyncio.sleep(0))
    while not other.done():
        await pause(stopping, 60)
        passes += 1
        assert passes < 100


async def test_a_cancellation_is_raised_even_when_the_event_is_set_at_the_same_moment() -> None:
    stopping = asyncio.Event()
    pausing = asyncio.create_task(pause(stopping, 60))
    await asyncio.sleep(0.01)  # until it waits
    stopping.set()
    pausing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pausing

"""Waiting between two passes of a background loop without delaying the end of the process."""

from __future__ import annotations

import asyncio


async def pause(until: asyncio.Event, seconds: float) -> bool:
    """Waits for `seconds`, or until the event `until` is set if that is earlier.

    Returns whether the event is set. Loops pass their `stopping` event and so end within one pass of being told to.
    A cancellation of the caller is always raised, which `asyncio.wait_for` does not guarantee in Python 3.11: it
    returns normally when the event is set at the moment of the cancellation.
    """
    await asyncio.sleep(0)  # other tasks run even when the event is set already, so that no loop can starve them
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return until.is_set()
    return True

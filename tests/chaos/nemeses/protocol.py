"""What every nemesis is: something that goes wrong for a while, decided by a seed."""

from __future__ import annotations

import asyncio
import signal
from typing import Protocol

from tests.chaos.load import Load
from tests.chaos.system import System


class BoundExceededError(Exception):
    """What a nemesis has measured while it was at work is out of bounds. The text says what."""


class Nemesis(Protocol):
    """Harms a running system from `start` to `stop`. All its decisions follow from its seed."""

    name: str
    seed: int

    async def start(self, system: System, load: Load) -> str:
        """Begin, and say what is done to whom. Returns once the harm is done or under way."""
        ...

    async def stop(self, system: System, load: Load) -> None:
        """Wait for as long as the harm is meant to last, and end it. Afterwards everything must recover by itself.

        It is called however `start` ended, so that nothing stays stopped, filled or cut off.
        """
        ...


async def signal_when_running(system: System, name: str, number: int, within_s: float = 60.0) -> int:
    """Send a signal to a service, which may be about to be restarted. Returns the process id.

    Raises TimeoutError if no process of it was found in time.
    """
    async with asyncio.timeout(within_s):
        while True:
            try:
                return system.signal(name, signal.Signals(number))
            except ProcessLookupError:
                await asyncio.sleep(0.1)

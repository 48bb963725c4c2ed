"""A rolling restart under load, as a roll-out of a new version does it: SIGTERM, one service after the other."""

from __future__ import annotations

import asyncio
import random
import signal
import time

from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import signal_when_running
from tests.chaos.system import PACKAGES, System

_READY_S = 60.0


class RollingRestart:
    """Restarts every service in a random order; the next one goes when the last one is ready."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed

    async def start(self, system: System, load: Load) -> str:
        """Restart all of them."""
        order = random.Random(self.seed).sample(PACKAGES, len(PACKAGES))
        for package in order:
            await signal_when_running(system, package, signal.SIGTERM)
            await asyncio.sleep(0.5)
            deadline = time.monotonic() + _READY_S
            while package in await asyncio.to_thread(system.not_ready):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{package} is not ready {_READY_S:.0f} s after SIGTERM")
                await asyncio.sleep(0.25)
        return f"SIGTERM in the order {', '.join(order)}"

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""

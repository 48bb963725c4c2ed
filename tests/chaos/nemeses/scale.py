"""Scaling from one process to three and back, under load."""

from __future__ import annotations

import asyncio
import random
import time

from tests.chaos.load import Load
from tests.chaos.system import Replica, System

SCALABLE = ("trigger_detector", "telemetry_archiver", "telemetry_gateway")
"""Services of which several processes share the partitions of a topic."""
_READY_S = 90.0
_SHARED_S = 6.0


class Scale:
    """Starts two more processes of a service, lets them share the work, and stops them again."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim
        self._replicas: list[Replica] = []

    async def start(self, system: System, load: Load) -> str:
        """Start two more, and wait until they have partitions."""
        for number in (1, 2):
            self._replicas.append(await asyncio.to_thread(system.start_replica, self._victim, number))
        deadline = time.monotonic() + _READY_S
        while not all([await asyncio.to_thread(each.ready) for each in self._replicas]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"a second or third {self._victim} is not ready after {_READY_S:.0f} s")
            await asyncio.sleep(0.5)
        return f"{self._victim}: 1 to 3 to 1"

    async def stop(self, system: System, load: Load) -> None:
        """Stop them, one after the other in a random order."""
        await asyncio.sleep(_SHARED_S)
        random.Random(self.seed).shuffle(self._replicas)
        while self._replicas:
            await asyncio.to_thread(system.stop_replica, self._replicas.pop())
            await asyncio.sleep(1)

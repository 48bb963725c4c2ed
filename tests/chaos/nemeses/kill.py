"""SIGKILL of a service, of the broker, or of Postgres: what the kernel does when memory is short."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import signal_when_running
from tests.chaos.system import PACKAGES, System

_WITHIN_S = 30.0


class Kill:
    """Kills one process at a random moment of its work. The supervisor starts it again."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def start(self, system: System, load: Load) -> str:
        """Kill it after up to two seconds, so that not every kill meets the same moment of a cycle."""
        await asyncio.sleep(random.Random(self.seed).uniform(0, 2))
        pid = await signal_when_running(system, self._victim, signal.SIGKILL)
        return f"SIGKILL to {self._victim} ({pid})"

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""


class KillEveryService:
    """Kills all services within half a minute, in a random order and at random moments, so that some die together."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed

    async def start(self, system: System, load: Load) -> str:
        """Kill each of them once."""
        rng = random.Random(self.seed)
        order = rng.sample(PACKAGES, len(PACKAGES))
        moments_s = sorted(rng.uniform(0, _WITHIN_S) for _ in order)
        began_s = asyncio.get_running_loop().time()
        for package, at_s in zip(order, moments_s, strict=True):
            await asyncio.sleep(began_s + at_s - asyncio.get_running_loop().time())
            await signal_when_running(system, package, signal.SIGKILL)
        return f"SIGKILL in the order {', '.join(order)}"

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""

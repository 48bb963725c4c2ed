"""SIGKILL of a service, of the broker, or of Postgres: what the kernel does when memory is short."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import signal_when_running
from tests.chaos.system import System


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

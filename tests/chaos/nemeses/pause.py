"""SIGSTOP beyond the session timeout, then SIGCONT: a process that wakes up and believes that no time has passed."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress

from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import signal_when_running
from tests.chaos.system import System

LONGEST_SESSION_S = 10.0
"""Session timeout of aiokafka's consumers; Faust's is 6 s."""


class Pause:
    """Stops one process for longer than the broker keeps its membership, and shorter than liveness allows."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def start(self, system: System, load: Load) -> str:
        """Stop it."""
        pid = await signal_when_running(system, self._victim, signal.SIGSTOP)
        return f"SIGSTOP to {self._victim} ({pid}) for {self._seconds():.1f} s"

    async def stop(self, system: System, load: Load) -> None:
        """Let it go on."""
        await asyncio.sleep(self._seconds())
        with suppress(ProcessLookupError):
            system.signal(self._victim, signal.SIGCONT)

    def _seconds(self) -> float:
        return LONGEST_SESSION_S + random.Random(self.seed).uniform(2, 6)

"""A slow link between one service and the broker. Netem is not in every kernel, so a proxy holds the data."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.load import Load
from tests.chaos.system import System

_LASTS_S = 15.0


class SlowLink:
    """Delays everything between a service and the broker, and limits its rate."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def start(self, system: System, load: Load) -> str:
        """Slow the link down."""
        rng = random.Random(self.seed)
        delay_s, rate = rng.uniform(0.1, 0.5), rng.choice((50_000, 200_000))
        system.infrastructure.slow_down({self._victim: {"delay_s": delay_s, "bytes_per_s": rate}})
        return f"{self._victim}: {delay_s:.2f} s and {rate} bytes/s each way"

    async def stop(self, system: System, load: Load) -> None:
        """Give the link its speed again."""
        await asyncio.sleep(_LASTS_S)
        system.infrastructure.slow_down({})

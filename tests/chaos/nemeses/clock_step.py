"""A service's clock steps forward or back, stays wrong for a while, and steps to the right time again.

The monotonic clock stays right, as it does when a machine's clock is set.
"""

from __future__ import annotations

import asyncio
import random

from tests.chaos.load import Load
from tests.chaos.system import System

_LASTS_S = 20.0


class ClockStep:
    """Sets one service's clock wrong by up to two minutes."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def start(self, system: System, load: Load) -> str:
        """Step."""
        rng = random.Random(self.seed)
        offset_s = rng.choice((-1, 1)) * rng.randrange(30, 120)
        system.set_clock(self._victim, offset_s)
        return f"{self._victim}: the clock is wrong by {offset_s:+d} s for {_LASTS_S:.0f} s"

    async def stop(self, system: System, load: Load) -> None:
        """Step back."""
        await asyncio.sleep(_LASTS_S)
        system.set_clock(self._victim, 0)

"""A service's user in the broker gets another password, loses its rights, or gets a quota that is far too small.

Each is what a wrong rotation, a wrong rule or a wrong limit does in production. All are put right again.
"""

from __future__ import annotations

import asyncio
import random
import signal

from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import signal_when_running
from tests.chaos.system import System

_LASTS_S = 20.0
_LEAST_BYTES_PER_S, _MOST_BYTES_PER_S = 1_000, 5_000


class _Harmed:
    """What the three have in common: the end of the harm."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def stop(self, system: System, load: Load) -> None:
        """Give the user its password, its rights and its quotas again."""
        await asyncio.sleep(_LASTS_S)
        await system.access.restore()


class WrongPassword(_Harmed):
    """Changes the password of a service in the broker, and kills the service, so that it must log in."""

    async def start(self, system: System, load: Load) -> str:
        """Change it."""
        await system.access.change_password(self._victim)
        process = await signal_when_running(system, self._victim, signal.SIGKILL)
        return f"{self._victim}: killed (process {process}), and its password is wrong for {_LASTS_S:.0f} s"


class NoRights(_Harmed):
    """Takes all rights on topics and groups from a service, while it works."""

    async def start(self, system: System, load: Load) -> str:
        """Withdraw them."""
        await system.access.withdraw_rights(self._victim)
        return f"{self._victim}: no right on any topic for {_LASTS_S:.0f} s"


class SmallQuota(_Harmed):
    """Limits what a service may read and write each second."""

    async def start(self, system: System, load: Load) -> str:
        """Set the quota."""
        rate = random.Random(self.seed).randint(_LEAST_BYTES_PER_S, _MOST_BYTES_PER_S)
        await system.access.limit(self._victim, {"producer_byte_rate": rate, "consumer_byte_rate": rate})
        return f"{self._victim}: reads and writes {rate} bytes/s each for {_LASTS_S:.0f} s"

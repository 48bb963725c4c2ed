"""The state folder of a service is gone when it starts again, as on a new machine."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal

from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import signal_when_running
from tests.chaos.system import System

REBUILT = ("telemetry_gateway", "trigger_detector", "telemetry_archiver", "fleet_monitor", "fleet_console")
"""Services that keep nothing of their own: everything in their folder comes back from Kafka, from the archive, or
from vehicles that send an upload again. The other services have a database, which no topic can restore."""


class DeleteState:
    """Stops a service, deletes its folder, and kills it, so that it has no chance to write anything more."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def start(self, system: System, load: Load) -> str:
        """Do so."""
        await asyncio.sleep(random.Random(self.seed).uniform(0, 2))
        folder = system.run.layout.service_state(self._victim)
        await signal_when_running(system, self._victim, signal.SIGSTOP)
        files = sum(1 for path in folder.rglob("*") if path.is_file())
        await asyncio.to_thread(shutil.rmtree, folder, True)
        await signal_when_running(system, self._victim, signal.SIGKILL)
        return f"{self._victim}: {files} files deleted, then SIGKILL"

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""

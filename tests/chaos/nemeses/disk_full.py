"""A full disk: first under the services' state folders, or under the object store with archive and clips."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.chaos.load import Load
from tests.chaos.system import SMALL_DISKS, System

_BLOCK = b"\0" * 65_536


class DiskFull:
    """Fills a small file system to the last byte, and frees it after a while."""

    def __init__(self, name: str, seed: int, victim: str) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim

    async def start(self, system: System, load: Load) -> str:
        """Fill it."""
        ballast = self._ballast(system)
        size = await asyncio.to_thread(_fill, ballast)
        return f"{self._victim}: full; zeros take {size / 2**20:.1f} of {SMALL_DISKS[self._victim]} MiB"

    async def stop(self, system: System, load: Load) -> None:
        """Free it."""
        ballast = self._ballast(system)
        ends_s = random.Random(self.seed).uniform(10, 20)
        for _ in range(round(ends_s)):  # what services delete or truncate meanwhile is filled again
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(1)
        ballast.unlink(missing_ok=True)

    def _ballast(self, system: System) -> Path:
        return system.folder / self._victim / "ballast"


def _fill(path: Path) -> int:
    """Append zeros until the disk is full; the file's size."""
    for block in (_BLOCK, b"\0" * 512, b"\0"):
        try:
            with path.open("ab", buffering=0) as file:
                while file.write(block) == len(block):
                    pass
        except OSError:
            continue
    return path.stat().st_size if path.exists() else 0

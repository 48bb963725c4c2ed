"""The models that a process has loaded, each once for all vehicles that run it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path

from fleetloop.kit.process.logs import get_logger
from vehicle_agent.model import ModelRefusedError
from vehicle_agent.ports import Models, Runner

log = get_logger(__name__)


class ModelLoader:
    """Loads models in a thread, so that no vehicle stops driving meanwhile."""

    def __init__(self, models: Models, executor: Executor) -> None:
        self._models = models
        self._executor = executor
        self._loaded: dict[str, Runner] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._retained: dict[str, frozenset[str]] = {}

    async def runner(self, digest: str, folder: Path) -> Runner:
        """Return the model in `folder`. Raises ModelUnusableError if it cannot be loaded, and ModelRefusedError if it
        has another digest.
        """
        async with self._locks.setdefault(digest, asyncio.Lock()):
            if digest not in self._loaded:
                loop = asyncio.get_running_loop()
                runner = await loop.run_in_executor(self._executor, self._models.load, folder)
                if runner.digest != digest:
                    raise ModelRefusedError(
                        f"the bytes that were loaded have the digest {runner.digest}, not {digest}"
                    )
                self._loaded[digest] = runner
                log.info("model_loaded", digest=digest)
        return self._loaded[digest]

    def retain(self, vehicle_id: str, digests: Iterable[str]) -> frozenset[str]:
        """Keep these models loaded for a vehicle, from before it calls `runner`. Unload models that no vehicle
        keeps. Returns those that are kept.
        """
        self._retained[vehicle_id] = frozenset(digests)
        retained = frozenset[str]().union(*self._retained.values())
        for digest in [known for known in self._loaded if known not in retained]:
            del self._loaded[digest]
        return retained

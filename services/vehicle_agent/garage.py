"""The models that a process has loaded: each once, whichever of its vehicles run it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path

from fleetloop.kit.process.logs import get_logger
from vehicle_agent.model import ModelRefusedError
from vehicle_agent.ports import Models, Runner

log = get_logger(__name__)


class Garage:
    """Loads in a thread, so that nobody's driving stops for it."""

    def __init__(self, models: Models, executor: Executor) -> None:
        self._models = models
        self._executor = executor
        self._loaded: dict[str, Runner] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._wanted: dict[str, frozenset[str]] = {}

    async def runner(self, digest: str, folder: Path) -> Runner:
        """The model in `folder`. Raises ModelRefusedError when it cannot be loaded or is another one."""
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

    def wants(self, vehicle_id: str, digests: Iterable[str]) -> None:
        """A vehicle says what it is about to run, before it asks for it; models that nobody wants are let go."""
        self._wanted[vehicle_id] = frozenset(digests)
        wanted = frozenset[str]().union(*self._wanted.values())
        for digest in [known for known in self._loaded if known not in wanted]:
            del self._loaded[digest]

"""What the curator does periodically: it commits the samples that wait, once a commit is due."""

from __future__ import annotations

import asyncio

from dataset_curator import queries
from dataset_curator.committing import Committer
from dataset_curator.metrics import HELD, UNREADABLE_TABLES, WAITING
from dataset_curator.tables import TableUnreadableError
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database

log = get_logger(__name__)


class Worker:
    """Finishes the commits that an earlier process began, and then makes those that are due."""

    def __init__(self, database: Database, committer: Committer) -> None:
        self._database = database
        self._committer = committer
        self._had_waiting: set[str] = set()

    async def run(self, stopping: asyncio.Event, every_s: float) -> None:
        """Work until `stopping`."""
        await self._committer.recover()
        while not stopping.is_set():
            await self.run_once()
            await pause(stopping, every_s)

    async def run_once(self) -> None:
        """Make the commits that are due. One that needs a table that cannot be read waits for the next pass."""
        datasets = await self._database.read(queries.waiting_datasets)
        for dataset in self._had_waiting.difference(datasets):
            WAITING.labels(dataset).set(0)
            HELD.labels(dataset).set(0)
        self._had_waiting = set(datasets)
        for dataset in datasets:
            try:
                await self._committer.commit_if_due(dataset)
            except TableUnreadableError as error:
                UNREADABLE_TABLES.labels(dataset).inc()
                log.error("commit_put_off", dataset=dataset, error=str(error))

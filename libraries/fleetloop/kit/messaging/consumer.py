"""The loop of every service that reads Kafka, handles what it has read, and only then commits.

`handle` returns only when everything that follows from the records is durable. It may receive a record again after a
crash or a rebalance and has to recognise it. It sets aside what cannot be processed
(`fleetloop.kit.messaging.dead_letters`). An exception of `handle` is therefore an outage. It ends the loop and with
it the process: nothing is committed, and the supervisor or Kubernetes restarts the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from fleetloop.kit.messaging.partition_reader import GroupReader
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.settings import ServiceSettings

_MOST_RECORDS = 500
Handler = Callable[[Sequence[Record]], Awaitable[None]]


class ConsumerLoop:
    """Reads `topics` in the service's group and passes each poll to `handle`, in the order of each partition."""

    def __init__(
        self, service: str, topics: Sequence[str], handle: Handler, settings: ServiceSettings, clock: Clock
    ) -> None:
        self._reader = GroupReader(service, topics, settings, clock)
        self._handle = handle
        self.ready = asyncio.Event()
        """Set once the service has partitions for the first time."""

    def problem(self) -> str | None:
        """Liveness check: why this consumer counts as stuck, or None."""
        return self._reader.problem()

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`; what was handled is committed before it returns."""
        async with self._reader as reader:
            while not stopping.is_set():
                polled = await reader.poll(max_records=_MOST_RECORDS)
                if reader.assignment():
                    self.ready.set()
                if polled:
                    await self._handle([record for records in polled.values() for record in records])
                    await reader.commit({tp: records[-1].offset + 1 for tp, records in polled.items()})

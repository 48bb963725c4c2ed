"""The outbox relay: publishes the events that transactions left in the outbox, in order, and then deletes them.

A process that dies between publishing and deleting sends an event a second time, under the same id, which consumers
recognise. The same holds for several relays of one database: each may publish a row before one of them deletes it.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Publisher
from fleetloop.kit.process.metrics import OUTBOX_ROWS
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction

_BATCH_ROWS = 500


class OutboxRelay:
    """Moves rows from one database's outbox to Kafka."""

    def __init__(self, service: str, database: Database, publisher: Publisher, poll_s: float = 1.0) -> None:
        self._service = service
        self._database = database
        self._publisher = publisher
        self._poll_s = poll_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Relay until `stopping`, then publish what is left. An exception from Kafka ends the process."""
        while not stopping.is_set():
            self._database.outbox_filled.clear()
            if await self.relay_once() == 0:
                await pause(self._database.outbox_filled, self._poll_s)
        await self._database.run(lambda tx: None)  # wait for the write that was under way
        while await self.relay_once():
            pass

    async def relay_once(self) -> int:
        """Publish up to 500 rows; return how many."""
        rows = await self._database.read(self._oldest)
        if not rows:
            OUTBOX_ROWS.labels(self._service).set(0)
            return 0
        await self._publisher.publish([event for _, event in rows])
        await self._database.run(lambda tx: self._delete(tx, [row_id for row_id, _ in rows]))
        return len(rows)

    def _oldest(self, tx: Transaction) -> list[tuple[int, Event]]:
        outbox = sa.table(
            "outbox",
            *(
                sa.column(name)
                for name in (
                    "row_id",
                    "topic",
                    "key",
                    "event_id",
                    "event_type",
                    "payload",
                    "time_utc_ns",
                    "traceparent",
                )
            ),
        )
        OUTBOX_ROWS.labels(self._service).set(tx.session.scalar(sa.select(sa.func.count()).select_from(outbox)) or 0)
        query = sa.select(outbox).order_by(outbox.c.row_id).limit(_BATCH_ROWS)
        return [
            (
                row.row_id,
                Event(
                    topic=row.topic,
                    key=row.key,
                    event_id=row.event_id,
                    event_type=row.event_type,
                    payload=bytes(row.payload),
                    time_utc_ns=row.time_utc_ns,
                    traceparent=row.traceparent,
                ),
            )
            for row in tx.session.execute(query)
        ]

    @staticmethod
    def _delete(tx: Transaction, row_ids: list[int]) -> None:
        outbox = sa.table("outbox", sa.column("row_id"))
        tx.session.execute(sa.delete(outbox).where(outbox.c.row_id.in_(row_ids)))

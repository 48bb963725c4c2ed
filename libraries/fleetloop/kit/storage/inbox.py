"""How a service with a database takes events in: each once, in a transaction that also holds what follows.

The offset is committed last, by the ConsumerLoop, so dying anywhere means that the event comes again and the
inbox knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fleetloop.kit.messaging.events import event_id_of, traceparent_of
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.metrics import MESSAGES
from fleetloop.kit.process.tracing import span
from fleetloop.kit.storage.database import Database, Transaction

Effect = Callable[[Transaction, Record], None]
"""Decodes a record and carries it out. Raises UnreadableMessageError when it never can be."""


class Inbox:
    """The `handle` of a ConsumerLoop: one transaction a record, by topic."""

    def __init__(
        self,
        service: str,
        database: Database,
        publisher: KafkaPublisher,
        clock: Clock,
        effects: Mapping[str, Effect],
    ) -> None:
        self._service = service
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._effects = effects

    async def handle(self, records: Sequence[Record]) -> None:
        """Returns when every record has taken effect, was known, or lies in the dead letters."""
        for record in records:
            with span(f"{self._service} {record.topic}", parent=traceparent_of(record.headers)):
                try:
                    outcome = await self._database.run(partial(self._once, record=record))
                except UnreadableMessageError as error:
                    await self._publisher.send_to_dlq(record, error)
                    outcome = "dead"
            MESSAGES.labels(self._service, record.topic, outcome).inc()

    def _once(self, tx: Transaction, record: Record) -> str:
        event_id = event_id_of(record.headers)
        if not event_id:
            raise UnreadableMessageError("the header ce_id is missing: send CloudEvents in Kafka's binary mode")
        if not tx.first_time(event_id, self._clock.now_utc_ns()):
            return "repeat"
        self._effects[record.topic](tx, record)
        return "handled"

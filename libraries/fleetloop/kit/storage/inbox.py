"""The inbox of a service with a database: each event takes effect once, together with all that follows from it.

The ConsumerLoop commits the offset last. So a process that dies at any point reads the event again, and the inbox
recognises it: delivery is at least once, the effect is exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fleetloop.kit.messaging.dead_letters import DeadLetterQueue, is_for_another, process_or_set_aside
from fleetloop.kit.messaging.events import event_id_of, traceparent_of
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.messaging.signatures import NO_TRUST, EventTrust
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.metrics import MESSAGES
from fleetloop.kit.process.tracing import span
from fleetloop.kit.storage.database import Database, Transaction

Effect = Callable[[Transaction, Record], None]
"""Decodes a record and carries it out. Raises UnreadableMessageError when no retry can decode it."""


class Inbox:
    """The `handle` of a ConsumerLoop: one transaction per record, with the effect of its topic.

    A record that cannot be processed is set aside (`fleetloop.kit.messaging.dead_letters`).
    """

    def __init__(
        self,
        service: str,
        database: Database,
        dead_letters: DeadLetterQueue,
        clock: Clock,
        effects: Mapping[str, Effect],
        trust: EventTrust = NO_TRUST,
    ) -> None:
        self._service = service
        self._database = database
        self._dead_letters = dead_letters
        self._clock = clock
        self._effects = effects
        self._trust = trust

    async def handle(self, records: Sequence[Record]) -> None:
        """Return when every record has taken effect, was a repeat, or is in the dead-letter queue."""
        for record in records:
            outcome = await process_or_set_aside(record, self.take_effect, self._dead_letters)
            MESSAGES.labels(self._service, record.topic, outcome).inc()

    async def take_effect(self, record: Record) -> str:
        """Carry out the effect of one record in one transaction, unless it is a repeat. Return the outcome."""
        if is_for_another(record, self._service):
            return "skipped"
        self._trust.verify(record)
        with span(f"{self._service} {record.topic}", parent=traceparent_of(record.headers)):
            return await self._database.run(partial(self._once, record=record))

    def _once(self, tx: Transaction, record: Record) -> str:
        event_id = event_id_of(record.headers)
        if not event_id:
            raise UnreadableMessageError(
                "the header ce_id must have 1 to 64 printable ASCII characters: send CloudEvents"
            )
        if not tx.first_time(event_id, self._clock.now_utc_ns()):
            return "repeat"
        self._effects[record.topic](tx, record)
        return "handled"

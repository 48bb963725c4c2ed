"""Messages that services could not process: list them, look at one, retry it, or discard it.

The command line and the console do it this way; both need the rights of operators in Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleetloop.domain.dead_letters import (
    DeadLetter,
    DeadLetterId,
    DeadLetterState,
    Decision,
    dead_letter_of,
    decision_event,
    decisions_in,
)
from fleetloop.domain.topics import DEAD_LETTER
from fleetloop.kit.messaging.dead_letters import retry_headers
from fleetloop.kit.messaging.newest import read_newest, read_one
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import DLQ_SUFFIX, Topic
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError

_MOST_DECISIONS = 10_000
"""Decisions that are read; older ones are about messages that the queues keep no longer."""


class DeadLetters:
    """The dead-letter queues of a fleet.

    Args:
        settings: How to reach Kafka, as an operator.
        topics: The topic catalogue.
        by: Who decides, as kind/name; it is recorded with each decision.
        clock: Tells when.
    """

    def __init__(self, settings: ServiceSettings, topics: Mapping[str, Topic], by: str, clock: Clock) -> None:
        self._settings = settings
        self._queues = [name for name in topics if name.endswith(DLQ_SUFFIX)]
        self._by = by
        self._clock = clock

    async def newest(self, limit: int = 100) -> Sequence[DeadLetter]:
        """The newest messages of every dead-letter queue, newest first; at most `limit` of each."""
        records = await read_newest(self._settings, self._queues, limit)
        decisions = await self._decisions()
        records.sort(key=lambda record: record.appended_ms, reverse=True)
        return [dead_letter_of(record, decisions) for record in records]

    async def get(self, where: DeadLetterId) -> DeadLetter:
        """One message. Raises NotFoundError when its queue does not have it, or keeps it no longer."""
        if where.queue not in self._queues:
            raise NotFoundError(f"{where.topic} has no dead-letter queue", "id")
        record = await read_one(self._settings, where.queue, where.partition, where.offset)
        if record is None:
            raise NotFoundError(f"{where.queue} has no message at {where.partition}/{where.offset}", "id")
        return dead_letter_of(record, await self._decisions())

    async def retry(self, where: DeadLetterId, reason: str = "") -> DeadLetter:
        """Send a message to its topic again, for the service that had set it aside. Other services skip it.

        If it fails again, it comes back as a new message, whose attempts go on counting. A process that dies between
        the two writes leaves it open, and a second retry is a repeat, which the service recognises.
        """
        letter = await self._open(where)
        origin = letter.origin.partition("/")[0]
        if origin != where.topic:
            raise FailedPreconditionError(
                f"its headers name the topic {origin!r}, not {where.topic!r}",
                "id",
                "discard it: it was tampered with",
            )
        async with self._publisher() as publisher:
            headers = retry_headers(letter.record.headers)
            await publisher.send_raw(where.topic, letter.record.key, letter.record.value, headers)
            await self._decide(publisher, where, DeadLetterState.RETRIED, reason)
        return letter

    async def discard(self, where: DeadLetterId, reason: str) -> DeadLetter:
        """Record that nothing is to be done about a message. Its bytes stay until the queue's retention is over."""
        letter = await self._open(where)
        async with self._publisher() as publisher:
            await self._decide(publisher, where, DeadLetterState.DISCARDED, reason)
        return letter

    async def _open(self, where: DeadLetterId) -> DeadLetter:
        letter = await self.get(where)
        if letter.state is DeadLetterState.DISCARDED:
            raise FailedPreconditionError(f"{letter.by} discarded it: {letter.why}", "id")
        return letter

    async def _decisions(self) -> dict[DeadLetterId, Decision]:
        return decisions_in(await read_newest(self._settings, [DEAD_LETTER], _MOST_DECISIONS))

    async def _decide(
        self, publisher: KafkaPublisher, where: DeadLetterId, state: DeadLetterState, reason: str
    ) -> None:
        decision = Decision(where, state, self._by, reason, self._clock.now_utc_ns())
        await publisher.publish([decision_event(decision)])

    def _publisher(self) -> KafkaPublisher:
        return KafkaPublisher("operators", self._settings)

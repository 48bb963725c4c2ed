"""Messages as they are read from Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetloop.kit.messaging.events import Headers


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it was read from Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    appended_ms: int
    """The message's timestamp, set by the broker or the producer, in milliseconds since 1970."""


def record_of_message(message: Any) -> Record:
    """A message as aiokafka gives it, as a Record."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value or b"",
        message.headers,
        message.timestamp,
    )


class UnreadableMessageError(Exception):
    """The message can never be understood, by any retry: it belongs into the dead-letter queue."""

"""Converts protobuf messages to events, and Kafka records to messages, for every service's codec."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError

M = TypeVar("M", bound=Message)


def event_of(topic: str, key: str, event_id: str, message: Message, time_utc_ns: int) -> Event:
    """Wrap `message` in an event for `topic`. The event's type is the message's full name."""
    return Event(
        topic=topic,
        key=key,
        event_id=event_id,
        event_type=message.DESCRIPTOR.full_name,
        payload=message.SerializeToString(deterministic=True),
        time_utc_ns=time_utc_ns,
    )


def parse(kind: type[M], record: Record) -> M:
    """Parse a record's value. Raises UnreadableMessageError when the bytes are not a message of `kind`."""
    message = kind()
    try:
        message.ParseFromString(record.value)
    except DecodeError as error:
        raise UnreadableMessageError(f"not a {message.DESCRIPTOR.full_name}: {error}") from error
    return message

"""Protobuf messages as events and back, the same way in every service's codec."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError

M = TypeVar("M", bound=Message)


def event_of(topic: str, key: str, event_id: str, message: Message, time_utc_ns: int) -> Event:
    """`message` as an event on its way to `topic`; its type is the message's full name."""
    return Event(
        topic=topic,
        key=key,
        event_id=event_id,
        event_type=message.DESCRIPTOR.full_name,
        payload=message.SerializeToString(deterministic=True),
        time_utc_ns=time_utc_ns,
    )


def parse(kind: type[M], record: Record) -> M:
    """The message in a record. Raises UnreadableMessageError when the bytes are not one of `kind`."""
    message = kind()
    try:
        message.ParseFromString(record.value)
    except DecodeError as error:
        raise UnreadableMessageError(f"not a {message.DESCRIPTOR.full_name}: {error}") from error
    return message

"""Converts protobuf messages to events, and Kafka records to messages, for every service's codec."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from fleetloop.domain.topics import EVENT_OVERHEAD_BYTES, MAX_BYTES
from fleetloop.kit.bounds import OutOfBoundsError, check_bounds
from fleetloop.kit.messaging.events import Event, EventTooLargeError
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError

M = TypeVar("M", bound=Message)


def event_of(topic: str, key: str, event_id: str, message: Message, time_utc_ns: int) -> Event:
    """Wrap `message` in an event for `topic`. The event's type is the message's full name.

    Raises OutOfBoundsError for a field that its readers would refuse, and EventTooLargeError when the topic has no
    room for the message. So the caller learns of it, and not the relay that would try to send it forever.
    """
    check_bounds(message)
    payload = message.SerializeToString(deterministic=True)
    room = MAX_BYTES[topic] - EVENT_OVERHEAD_BYTES
    if len(payload) > room:
        kind = message.DESCRIPTOR.name
        raise EventTooLargeError(f"the {kind} has {len(payload)} bytes, and {topic} has room for {room}")
    return Event(
        topic=topic,
        key=key,
        event_id=event_id,
        event_type=message.DESCRIPTOR.full_name,
        payload=payload,
        time_utc_ns=time_utc_ns,
    )


def parse(kind: type[M], record: Record) -> M:
    """Parse a record's value.

    Raises UnreadableMessageError when the bytes are not a message of `kind`, or a field is outside its bounds.
    """
    message = kind()
    try:
        message.ParseFromString(record.value)
        check_bounds(message)
    except (DecodeError, OutOfBoundsError) as error:
        raise UnreadableMessageError(f"not a {message.DESCRIPTOR.full_name}: {error}") from error
    return message

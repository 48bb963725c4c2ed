"""CloudEvents in Kafka's binary mode: the attributes of an event are headers, the payload is plain protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cloudevents.core.bindings.kafka import to_binary_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from fleetloop.kit.refusal import InvalidArgumentError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONTENT_TYPE = "application/protobuf"
Headers = Sequence[tuple[str, bytes | None]]
"""Headers of a message; Kafka allows a header without a value."""
LONGEST_EVENT_ID = 64
"""Characters of the longest event id; ours are 32 hex digits."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event to be sent to a topic."""

    topic: str
    key: str
    """Partition key, such as the vehicle."""
    event_id: str
    """Hash of the causes of the event; a repeat has the same id."""
    event_type: str
    """Full name of the protobuf message."""
    payload: bytes
    time_utc_ns: int
    traceparent: str | None = None


class EventTooLargeError(InvalidArgumentError):
    """An event has more bytes than its topic allows. Raised where the event is made, not where it is sent."""


def to_headers(event: Event, source: str) -> list[tuple[str, bytes]]:
    """CloudEvents attributes of `event` as Kafka headers, sent by the service `source`."""
    attributes: dict[str, object] = {
        "id": event.event_id,
        "source": f"/fleetloop/{source}",
        "type": event.event_type,
        "specversion": "1.0",
        "time": _EPOCH + timedelta(microseconds=event.time_utc_ns // 1000),
        "datacontenttype": CONTENT_TYPE,
        "partitionkey": event.key,
    }
    if event.traceparent:
        attributes["traceparent"] = event.traceparent
    message = to_binary_event(CloudEvent(attributes=attributes, data=event.payload), JSONFormat())
    return [(name, value) for name, value in message.headers.items()]


def header(headers: Headers, name: str) -> str | None:
    """The first header with that name as text. None when there is none, or when it has no value."""
    value = next((value for key, value in headers if key == name), None)
    return None if value is None else value.decode("utf-8", "replace")


def event_id_of(headers: Headers) -> str | None:
    """The CloudEvents id. None when it is absent, or is not 1 to 64 printable ASCII characters."""
    found = header(headers, "ce_id")
    if not found or len(found) > LONGEST_EVENT_ID or not found.isascii() or not found.isprintable():
        return None
    return found


def traceparent_of(headers: Headers) -> str | None:
    """The `traceparent` of the trace that the event belongs to, or None."""
    return header(headers, "ce_traceparent")


def event_time_ns_of(headers: Headers) -> int | None:
    """The CloudEvents time in nanoseconds since 1970, exact to a microsecond; None when absent or damaged."""
    text = header(headers, "ce_time")
    if text is None:
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError, OverflowError):  # TypeError: a time without a zone; OverflowError: the year 0
        return None

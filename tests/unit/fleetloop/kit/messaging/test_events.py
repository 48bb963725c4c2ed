from __future__ import annotations

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.messaging.events import Event, event_id_of, event_time_ns_of, header, to_headers, traceparent_of

TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def event(time_utc_ns: int = 1_700_000_000_123_456_789, traceparent: str | None = TRACEPARENT) -> Event:
    return Event("fleet.x.v1", "car-1", "id-1", "fleet.x.v1.Thing", b"\x08\x01", time_utc_ns, traceparent)


def test_headers_are_a_cloudevent_that_the_library_reads() -> None:
    headers = to_headers(event(), "gateway")
    read = from_binary_event(KafkaMessage(headers=dict(headers), key=b"car-1", value=b"\x08\x01"), JSONFormat())
    attributes = read.get_attributes()
    assert attributes["id"] == "id-1"
    assert attributes["type"] == "fleet.x.v1.Thing"
    assert attributes["source"] == "/fleetloop/gateway"
    assert attributes["datacontenttype"] == "application/protobuf"


def test_id_and_trace_come_back() -> None:
    headers = to_headers(event(), "gateway")
    assert event_id_of(headers) == "id-1"
    assert traceparent_of(headers) == TRACEPARENT
    assert traceparent_of(to_headers(event(traceparent=None), "gateway")) is None


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_time_comes_back_to_the_microsecond(time_utc_ns: int) -> None:
    assert event_time_ns_of(to_headers(event(time_utc_ns), "gateway")) == time_utc_ns // 1000 * 1000


def test_a_damaged_time_is_none() -> None:
    assert event_time_ns_of([("ce_time", b"yesterday")]) is None
    assert event_time_ns_of([("ce_time", b"2026-01-01T00:00:00")]) is None
    assert event_time_ns_of([]) is None


def test_header_takes_the_first_of_a_name() -> None:
    assert header([("a", b"1"), ("a", b"2")], "a") == "1"

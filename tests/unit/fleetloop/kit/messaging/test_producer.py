"""What the publisher promises, on aiokafka's producer with its acknowledgements in the test's hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY

from fleetloop.kit.messaging import producer as kafka
from fleetloop.kit.messaging.events import Event, header
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError, connection_options
from fleetloop.kit.process import tracing
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.process.tracing import span
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority

SETTINGS = ServiceSettings(kafka_bootstrap_servers="one:1,two:2")


class Producer:
    """Keeps what is sent; each acknowledgement comes when the test says so."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.acknowledgements: list[asyncio.Future[None]] = []

    async def send(self, topic: str, **message: Any) -> asyncio.Future[None]:
        self.sent.append((topic, message))
        self.acknowledgements.append(asyncio.get_running_loop().create_future())
        return self.acknowledgements[-1]

    async def send_and_wait(self, topic: str, **message: Any) -> None:
        self.sent.append((topic, message))


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> KafkaPublisher:
    monkeypatch.setattr(kafka, "AIOKafkaProducer", Producer)
    return KafkaPublisher("test-kafka", SETTINGS)


def producer_of(publisher: KafkaPublisher) -> Producer:
    producer = publisher._producer
    assert isinstance(producer, Producer)
    return producer


def event(number: int, topic: str = "fleet.x.v1") -> Event:
    return Event(topic, "car", f"id-{number}", "fleet.x.v1.Thing", bytes([number]), 1_000)


def produced(topic: str) -> float:
    labels = {"service": "test-kafka", "topic": topic}
    return REGISTRY.get_sample_value("fleetloop_produced_messages_total", labels) or 0.0


async def test_publish_returns_only_when_every_event_is_acknowledged(publisher: KafkaPublisher) -> None:
    publishing = asyncio.create_task(publisher.publish([event(1), event(2), event(3)]))
    while len(producer_of(publisher).acknowledgements) < 3:
        await asyncio.sleep(0)
    first, second, third = producer_of(publisher).acknowledgements
    first.set_result(None)
    third.set_result(None)
    await asyncio.sleep(0.01)
    assert not publishing.done()
    second.set_result(None)
    await asyncio.wait_for(publishing, 5)


async def test_one_event_that_is_refused_fails_the_whole_after_all_were_answered(publisher: KafkaPublisher) -> None:
    before = produced("fleet.y.v1")
    publishing = asyncio.create_task(publisher.publish([event(n, "fleet.y.v1") for n in range(3)]))
    while len(producer_of(publisher).acknowledgements) < 3:
        await asyncio.sleep(0)
    first, second, third = producer_of(publisher).acknowledgements
    first.set_result(None)
    second.set_exception(ValueError("too large"))
    await asyncio.sleep(0.01)
    assert not publishing.done(), "the third may yet be stored, and has to be known of"
    third.set_result(None)
    with pytest.raises(ValueError, match="too large"):
        await asyncio.wait_for(publishing, 5)
    assert produced("fleet.y.v1") == before + 2, "what Kafka took is counted"


async def test_an_event_carries_its_own_trace_or_the_one_it_is_made_in(
    publisher: KafkaPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_tracer", TracerProvider().get_tracer("test"))
    own = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    with span("work") as current:
        await publisher.enqueue(event(1))
        await publisher.enqueue(Event("t", "car", "id", "T", b"", 1, traceparent=own))
    made_in, given = (message["headers"] for _, message in producer_of(publisher).sent)
    assert (header(made_in, "ce_traceparent") or "").split("-")[1] == f"{current.get_span_context().trace_id:032x}"
    assert header(given, "ce_traceparent") == own


def test_the_counter_of_a_topic_that_an_alert_watches_starts_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "AIOKafkaProducer", Producer)
    KafkaPublisher("test-new", SETTINGS, topics=["fleet.x.v1"])
    labels = {"service": "test-new", "topic": "fleet.x.v1"}
    assert REGISTRY.get_sample_value("fleetloop_produced_messages_total", labels) == 0


async def test_a_dead_letter_says_where_it_came_from_and_why(publisher: KafkaPublisher) -> None:
    record = Record("fleet.x.v1", 3, 77, b"car", b"\xff", [("ce_id", b"e1")], 5)
    await publisher.send_to_dlq(record, UnreadableMessageError("x" * 5000), attempts=2)
    ((topic, message),) = producer_of(publisher).sent
    headers = dict(message["headers"])
    assert (topic, message["key"], message["value"]) == ("fleet.x.v1.dlq", b"car", b"\xff")
    assert headers["ce_id"] == b"e1"
    origin = [
        headers[name]
        for name in ("origin_topic", "origin_partition", "origin_offset", "dead_lettered_by", "attempts")
    ]
    assert origin == [b"fleet.x.v1", b"3", b"77", b"test-kafka", b"2"]
    assert (headers["error_type"], len(headers["error"])) == (b"UnreadableMessageError", 2000)


def test_nothing_is_sent_that_kafka_might_lose_or_double(publisher: KafkaPublisher) -> None:
    options = producer_of(publisher).options
    assert (options["acks"], options["enable_idempotence"]) == ("all", True)
    assert options["bootstrap_servers"] == "one:1,two:2"


def test_who_connects_is_a_scram_user_over_tls_where_both_are_given(tmp_path: Path) -> None:
    assert "security_protocol" not in connection_options(SETTINGS)
    user = {"kafka_username": "label-desk", "kafka_password": "secret"}
    plain = connection_options(SETTINGS.model_copy(update=user))
    assert (plain["security_protocol"], plain["sasl_mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert (plain["sasl_plain_username"], plain["sasl_plain_password"]) == ("label-desk", "secret")
    now = datetime.now(UTC)
    authority = CertificateAuthority.open(tmp_path / "authority", fleet="f", now=now)
    own = authority.issue(IdentityKind.SERVICE, "label-desk", tmp_path / "own", now=now)
    secure = connection_options(SETTINGS.model_copy(update={**user, "tls_ca": own.ca}))
    assert secure["security_protocol"] == "SASL_SSL"
    assert secure["ssl_context"].verify_mode.name == "CERT_REQUIRED"
    assert "secret" not in repr(SETTINGS.model_copy(update=user)), "a password is in no log"

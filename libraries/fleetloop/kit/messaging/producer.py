"""Sending to Kafka: a publisher that returns once every in-sync replica has a message, and the dead-letter queue.

Consumers commit an offset only after the publisher has returned for everything that follows from the message. A
message that cannot be processed goes to the dead-letter queue and counts as handled. A broken dependency ends the
process, because a consumer that continued would leave a gap.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from fleetloop.kit.messaging.events import Event, EventTooLargeError, Headers, header, to_headers
from fleetloop.kit.messaging.records import Record as Record
from fleetloop.kit.messaging.records import UnreadableMessageError as UnreadableMessageError
from fleetloop.kit.messaging.records import record_of_message as record_of_message
from fleetloop.kit.messaging.signatures import load_signer
from fleetloop.kit.messaging.topics import DLQ_SUFFIX
from fleetloop.kit.process.metrics import DEAD_LETTERS, PRODUCED, DeadLetterReason, create_alerted_counters
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.process.tracing import current_traceparent

MAX_REQUEST_BYTES = 1_200_000
"""Largest request of a producer; above the `max_bytes` of every topic."""
SMALL_BATCH_BYTES = 16_384
"""Bytes of one request to a partition; below the `max_bytes` of every topic."""


DLQ_HEADERS = (
    "origin_topic",
    "origin_partition",
    "origin_offset",
    "dead_lettered_by",
    "reason",
    "error_type",
    "error",
    "attempts",
)
"""Headers that a message has in a dead-letter queue, beside its own."""
_ERROR_BYTES = 2000


def reason_of(error: Exception) -> DeadLetterReason:
    """Why a message was set aside."""
    if isinstance(error, UnreadableMessageError):
        return DeadLetterReason.UNREADABLE
    if isinstance(error, KafkaError | EventTooLargeError):
        return DeadLetterReason.TOO_LARGE
    return DeadLetterReason.FAILED


class Publisher(Protocol):
    """Sends events to Kafka."""

    async def publish(self, events: Iterable[Event]) -> None:
        """Returns once Kafka has acknowledged all events. Raises when it refused any; some may be stored then."""
        ...


def connection_options(settings: ServiceSettings) -> dict[str, Any]:
    """The options with which every Kafka client connects and authenticates."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
    }
    if settings.kafka_username:
        context = broker_tls(settings)
        options |= {
            "security_protocol": "SASL_SSL" if context else "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password,
        }
        if context:
            options["ssl_context"] = context
    return options


def broker_tls(settings: ServiceSettings) -> ssl.SSLContext | None:
    """The TLS context for brokers: with their own CA if one is set, such as Strimzi's, otherwise the fleet's."""
    authority = (settings.kafka_ca or settings.tls_ca) if settings.kafka_tls else None
    context: ssl.SSLContext | None = create_ssl_context(cafile=str(authority)) if authority else None
    return context


class KafkaPublisher:
    """The Publisher for Kafka: acks=all, idempotent, partitioned by murmur2 over the key."""

    def __init__(
        self,
        service: str,
        settings: ServiceSettings,
        batch_bytes: int = SMALL_BATCH_BYTES,
        *,
        topics: Iterable[str] = (),
    ) -> None:
        """
        Args:
            service: Name under which metrics count and the broker knows the producer.
            settings: How to reach the broker.
            batch_bytes: Bytes that go to a partition in one request; the broker's limit is the topic's `max_bytes`.
            topics: Topics whose counter of messages starts at 0, because an alert watches it.
        """
        self._service = service
        self._signer = load_signer(settings)
        create_alerted_counters(service, writes=topics)
        self._producer = AIOKafkaProducer(
            **connection_options(settings),
            client_id=service,
            acks="all",
            enable_idempotence=True,
            linger_ms=2,
            max_batch_size=batch_bytes,
            compression_type="lz4",
            max_request_size=MAX_REQUEST_BYTES,
        )

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def enqueue(self, event: Event) -> asyncio.Future[Any]:
        """Queues an event behind earlier events of its partition and returns the future of its acknowledgement.

        For streams that must keep their order without waiting for each acknowledgement. The event is safe only once
        the future has a result, so the caller has to await it.
        """
        if event.traceparent is None:
            event = replace(event, traceparent=current_traceparent())
        headers = to_headers(event, self._service)
        if self._signer is not None:
            headers.append(self._signer.header(event))
        future: asyncio.Future[Any] = await self._producer.send(
            event.topic, key=event.key.encode(), value=event.payload, headers=headers
        )
        future.add_done_callback(partial(self._count, event.topic))
        return future

    def _count(self, topic: str, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and sent.exception() is None:
            PRODUCED.labels(self._service, topic).inc()

    async def publish(self, events: Iterable[Event]) -> None:
        """Sends all events and waits for every acknowledgement."""
        futures = [await self.enqueue(event) for event in events]
        for result in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def send_raw(self, topic: str, key: bytes | None, value: bytes, headers: Headers = ()) -> None:
        """Sends bytes without CloudEvents headers and waits for the acknowledgement."""
        await self._producer.send_and_wait(topic, key=key, value=value, headers=list(headers))
        PRODUCED.labels(self._service, topic).inc()

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        """Sends a message that cannot be processed to the dead-letter queue of its topic.

        Headers say where the message came from, which service rejected it, why, and how often it was tried. The
        attempts before a retry by an operator count too.
        """
        reason = reason_of(error)
        earlier = header(record.headers, "attempts") or ""
        attempts += int(earlier) if earlier.isascii() and earlier.isdigit() and len(earlier) < 6 else 0
        kept = [(name, value) for name, value in record.headers if name not in DLQ_HEADERS]
        origin = [
            ("origin_topic", record.topic.encode()),
            ("origin_partition", str(record.partition).encode()),
            ("origin_offset", str(record.offset).encode()),
            ("dead_lettered_by", self._service.encode()),
            ("reason", reason.encode()),
            ("error_type", type(error).__name__.encode()),
            ("error", str(error).encode("utf-8", "backslashreplace")[:_ERROR_BYTES]),
            ("attempts", str(attempts).encode()),
        ]
        await self.send_raw(record.topic + DLQ_SUFFIX, record.key, record.value, [*kept, *origin])
        DEAD_LETTERS.labels(self._service, record.topic, reason).inc()

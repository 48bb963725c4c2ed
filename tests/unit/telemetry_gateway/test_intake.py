"""What passes the one check that all batches go through, in whichever way they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from prometheus_client import REGISTRY

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import parse_catalogue
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.topics import INGEST, TELEMETRY
from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.refusal import PermissionDeniedError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.intake import Intake, KafkaUnavailableError, Outage, Prepared
from telemetry_gateway.model import NOT_YOURS, Sender
from telemetry_gateway.stream import Ingest

ME = Sender("fleet", "car")
CATALOGUE = parse_catalogue("{version: 1, signals: {Speed: {type: float64, min: 0, max: 9}}}")
NOW_NS = ManualClock().utc_ns
BATCH = FrameBatch(
    "fleet", "car", b"12345678", 3, 0, NOW_NS - 10**9, "gnss", np.arange(100, dtype=np.int64),
    {"Speed": Column(np.ones(100))},
)  # fmt: skip


class OrderedPublisher:
    """Keeps events; the acknowledgement of each fails with `error` if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[Event] = []
        self._error = error

    async def enqueue(self, event: Event) -> Awaitable[Any]:
        self.events.append(event)
        acknowledgement: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._error is None:
            acknowledgement.set_result(None)
        else:
            acknowledgement.set_exception(self._error)
        return acknowledgement


class DeadLetters:
    def __init__(self) -> None:
        self.errors: list[str] = []

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.errors.append(str(error))


class Admissions:
    """Admits the vehicle `car` of the fleet `fleet`, and `other`."""

    def admitted(self, who: Identity, serial: str | None = None) -> None:
        if who.uri not in {"spiffe://fleet/vehicle/car", "spiffe://fleet/vehicle/other"}:
            raise PermissionDeniedError(f"{who.uri} is not enrolled")


def intake_on(line: OrderedPublisher, max_batch_bytes: int = 500_000, outage: Outage | None = None) -> Intake:
    return Intake(line, CATALOGUE, ManualClock(), outage or Outage(), max_batch_bytes=max_batch_bytes, spans_per_s=0)


def rejections(source: str, code: str) -> float:
    labels = {"source": source, "code": code}
    return REGISTRY.get_sample_value("fleetloop_gateway_rejections_total", labels) or 0.0


def test_a_batch_of_ones_own_passes_without_what_nobody_knows() -> None:
    batch = replace(BATCH, columns={**BATCH.columns, "New": Column(np.ones(100, np.float32))})
    prepared = intake_on(OrderedPublisher()).prepare(encode_batch(batch), ME, "stream")
    assert (prepared.dropped, prepared.frames) == (("New",), 100)
    stored = decode_batch(telemetry_pb2.TelemetryBatch.FromString(prepared.event.payload))
    assert set(stored.columns) == {"Speed"}
    assert (prepared.event.topic, prepared.event.key) == (TELEMETRY, "car")


@pytest.mark.parametrize("field", ["vehicle_id", "fleet_id"])
def test_a_batch_of_another_is_refused_and_counted(field: str) -> None:
    others: dict[str, Any] = {field: "other"}
    before = rejections("stream", NOT_YOURS)
    with pytest.raises(BatchError) as caught:
        intake_on(OrderedPublisher()).prepare(encode_batch(replace(BATCH, **others)), ME, "stream")
    assert (caught.value.code, caught.value.field) == (NOT_YOURS, field)
    assert rejections("stream", NOT_YOURS) == before + 1


def test_the_size_counts_as_it_comes_and_again_as_it_is_stored() -> None:
    """A column that comes as float32 is stored in the catalogue's float64, and so takes twice the bytes."""
    narrow = encode_batch(replace(BATCH, columns={"Speed": Column(np.ones(100, np.float32))}))
    comes, stored = len(narrow.SerializeToString()), len(encode_batch(BATCH).SerializeToString())
    assert comes < stored
    intake_on(OrderedPublisher(), stored).prepare(narrow, ME, "stream")
    for limit, size in ((stored - 1, stored), (comes - 1, comes)):
        with pytest.raises(BatchError, match=f"has {size} bytes, at most {limit}") as caught:
            intake_on(OrderedPublisher(), limit).prepare(narrow, ME, "stream")
        assert caught.value.code == "size"


async def test_kafka_that_does_not_acknowledge_is_an_outage_and_one_large_batch_is_not() -> None:
    outage = Outage()
    too_large = intake_on(OrderedPublisher(MessageSizeTooLargeError()), outage=outage)
    prepared = too_large.prepare(encode_batch(BATCH), ME, "stream")
    with pytest.raises(BatchError, match="larger than Kafka accepts"):
        await too_large.await_stored(prepared, await too_large.enqueue(prepared), "stream")
    watching = asyncio.create_task(outage.watch(asyncio.Event()))
    await asyncio.sleep(0.01)
    assert not watching.done()
    away = intake_on(OrderedPublisher(KafkaConnectionError("gone")), outage=outage)
    with pytest.raises(KafkaUnavailableError, match="gone"):
        await away.await_stored(prepared, await away.enqueue(prepared), "stream")
    with pytest.raises(KafkaConnectionError):
        await asyncio.wait_for(watching, 5)


@pytest.mark.parametrize(
    ("key", "batch", "error"),
    [
        (b"other", BATCH, "vehicle_id: you are other, the batch says 'car'"),
        (b"car", replace(BATCH, fleet_id="elsewhere"), "fleet_id: you belong to fleet"),
        (b"stranger", replace(BATCH, vehicle_id="stranger"), "spiffe://fleet/vehicle/stranger is not enrolled"),
        (None, BATCH, "vehicle name ''"),
    ],
)
async def test_on_the_ingest_topic_the_key_says_whose_batch_it_may_be(
    key: bytes | None, batch: FrameBatch, error: str
) -> None:
    line, dead = OrderedPublisher(), DeadLetters()
    publisher: Any = dead
    before = rejections("ingest", NOT_YOURS)
    ingest = Ingest("test-gateway", intake_on(line), publisher, Admissions(), "fleet")
    mine = encode_batch(BATCH).SerializeToString()
    await ingest.handle(
        [
            Record(INGEST, 0, 0, key, encode_batch(batch).SerializeToString(), [], 0),
            Record(INGEST, 0, 1, b"car", mine, [], 0),
        ]
    )
    assert len(dead.errors) == 1 and error in dead.errors[0]
    assert [event.payload for event in line.events] == [mine], "and one bad batch is one bad batch"
    assert rejections("ingest", NOT_YOURS) == before + 1


class BrokenIntake(Intake):
    """An intake with a bug: it fails on batches of one sequence, `failures` times."""

    def __init__(self, line: OrderedPublisher, failures: int) -> None:
        super().__init__(line, CATALOGUE, ManualClock(), Outage(), max_batch_bytes=500_000, spans_per_s=0)
        self._failures = failures

    def prepare(
        self, message: telemetry_pb2.TelemetryBatch, sender: Sender, source: str, max_lead_s: float = 0.0
    ) -> Prepared:
        if message.sequence == 4 and self._failures:
            self._failures -= 1
            raise AttributeError("'NoneType' object has no attribute 'decode'")
        return super().prepare(message, sender, source, max_lead_s)


@pytest.mark.parametrize(("failures", "stored", "dead"), [(1, 3, 0), (2, 2, 1)])
async def test_a_batch_on_which_the_gateway_fails_is_tried_once_more_and_set_aside(
    failures: int, stored: int, dead: int
) -> None:
    line, letters = OrderedPublisher(), DeadLetters()
    ingest = Ingest("test-gateway", BrokenIntake(line, failures), letters, Admissions(), "fleet")
    batches = [replace(BATCH, sequence=number) for number in (3, 4, 5)]
    await ingest.handle(
        [
            Record(INGEST, 0, offset, b"car", encode_batch(batch).SerializeToString(), [("ce_id", None)], 0)
            for offset, batch in enumerate(batches)
        ]
    )
    assert (len(line.events), len(letters.errors)) == (stored, dead)


async def test_an_outage_of_kafka_sets_nothing_aside() -> None:
    line, letters = OrderedPublisher(KafkaConnectionError("gone")), DeadLetters()
    ingest = Ingest("test-gateway", intake_on(line), letters, Admissions(), "fleet")
    with pytest.raises(KafkaUnavailableError):
        await ingest.handle([Record(INGEST, 0, 0, b"car", encode_batch(BATCH).SerializeToString(), [], 0)])
    assert letters.errors == []

"""The real gateway on the real broker with mTLS: what is acknowledged is in Kafka, and other callers are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.integration.telemetry_processes import ROOT, Fleet, batch_of, fleet_of

from fleetloop import RefusedError, connect_producer
from fleetloop.domain.frames import Column
from fleetloop.domain.messages import event_of
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.topics import COMMAND, HEALTH, INGEST, TELEMETRY
from fleetloop.kit.messaging.events import event_id_of
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import DLQ_SUFFIX, create_topics, load_topics
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str) -> Iterator[Fleet]:
    asyncio.run(create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml")))
    with fleet_of(tmp_path_factory.mktemp("gateway"), kafka_bootstrap, f"f{uuid4().hex[:8]}") as fleet:
        fleet.service("telemetry_gateway", "first", admission_check_s="0.3").start()
        fleet.service("telemetry_gateway", "second", admission_check_s="0.3").start()
        yield fleet


@pytest.fixture
async def publisher(kafka_bootstrap: str) -> AsyncIterator[KafkaPublisher]:
    publisher = KafkaPublisher("test", ServiceSettings(kafka_bootstrap_servers=kafka_bootstrap))
    await publisher.start()
    yield publisher
    await publisher.stop()


async def read_all(broker: str | dict[str, Any], topic: str, vehicle: str) -> list[tuple[str | None, bytes]]:
    """(event id, value) of everything in a topic with this key, in order."""
    options = {"bootstrap_servers": broker} if isinstance(broker, str) else broker
    consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.subscribe([topic])
        await consumer.getmany(timeout_ms=100)
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.unsubscribe()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        found = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += [(event_id_of(m.headers), m.value) for m in messages if m.key == vehicle.encode()]
        return found
    finally:
        await consumer.stop()


Stub = telemetry_pb2_grpc.TelemetryServiceStub
StubOf = Callable[..., Stub]


@pytest.fixture
async def stub_of(fleet: Fleet) -> AsyncIterator[StubOf]:
    """`stub_of(credentials, gateway=0)`: a stub whose channel closes with the test."""
    channels: list[grpc.aio.Channel] = []

    def make(credentials: Credentials, gateway: int = 0) -> Stub:
        address = fleet.services[gateway].address
        channels.append(open_channel("telemetry-gateway", address, credentials.ca, credentials.cert, credentials.key))
        return Stub(channels[-1])

    yield make
    for channel in channels:
        await channel.close()


async def test_what_is_acknowledged_is_in_kafka_and_what_is_wrong_is_named(fleet: Fleet) -> None:
    credentials = fleet.enrol("one")
    good = [batch_of(fleet.fleet_id, "one", number) for number in range(100)]
    unknown = replace(
        batch_of(fleet.fleet_id, "one", 100),
        columns={**good[0].columns, "Vehicle.Brand.New": Column(np.zeros(20, np.float32))},
    )
    nan = replace(good[0], sequence=101, columns={"Vehicle.Speed": Column(np.full(20, np.nan, np.float32))})
    future = replace(good[0], sequence=102, start_utc_ns=time.time_ns() + 3600 * 10**9)
    other = replace(good[0], sequence=103, vehicle_id="two")
    async with connect_producer(fleet.services[0].address, credentials) as producer:
        answers = [await producer.send(batch) for batch in [*good, unknown, nan, future, other]]
        results = await asyncio.gather(*answers)
    assert [r.stored for r in results] == [True] * 101 + [False, True, False]
    assert results[100].dropped_columns == ("Vehicle.Brand.New",)
    assert [
        (r.error_code.removeprefix("BATCH_ERROR_CODE_"), r.error_field) for r in results[101:] if not r.stored
    ] == [
        ("BAD_VALUE", "columns[Vehicle.Speed].values"),
        ("NOT_YOURS", "vehicle_id"),
    ]
    assert -3601 < results[102].time_correction_s < -3590
    stored = await read_all(fleet.bootstrap, TELEMETRY, "one")
    decoded = [decode_batch(telemetry_pb2.TelemetryBatch.FromString(value)) for _, value in stored]
    mine = [batch for batch in decoded if batch.fleet_id == fleet.fleet_id]
    assert [batch.sequence for batch in mine] == [*range(101), 102]
    assert "Vehicle.Brand.New" not in mine[100].columns
    assert mine[5].columns["Radar.Object.Id"].values.tolist() == good[5].columns["Radar.Object.Id"].values.tolist()


async def test_a_killed_gateway_loses_nothing_and_repeats_have_the_same_id(fleet: Fleet) -> None:
    gateway = fleet.service("telemetry_gateway", "killed")
    gateway.start()
    credentials = fleet.enrol("survivor")
    async with connect_producer(gateway.address, credentials) as producer:
        answers = []
        for number in range(400):
            answers.append(await producer.send(batch_of(fleet.fleet_id, "survivor", number)))
            if number in (120, 260):
                gateway.kill()
                await asyncio.to_thread(gateway.start)
        assert all(answer.stored for answer in await asyncio.gather(*answers))
        assert producer.connections >= 3
    assert gateway.stop() == 0
    stored = await read_all(fleet.bootstrap, TELEMETRY, "survivor")
    by_id: dict[str | None, set[bytes]] = {}
    for event_id, value in stored:
        by_id.setdefault(event_id, set()).add(value)
    assert len(by_id) == 400
    assert all(len(values) == 1 for values in by_id.values())


async def test_a_revoked_vehicle_is_refused_at_its_next_batch(fleet: Fleet, stub_of: StubOf) -> None:
    credentials = fleet.enrol("stolen")
    async with connect_producer(fleet.services[0].address, credentials) as producer:
        assert (await (await producer.send(batch_of(fleet.fleet_id, "stolen", 0)))).stored
        commands = stub_of(credentials).StreamCommands(
            telemetry_pb2.StreamCommandsRequest(fleet_id=fleet.fleet_id, vehicle_id="stolen")
        )
        fleet.revoke("stolen")
        with pytest.raises(RefusedError, match=r"revoked .* stolen"):
            await (await producer.send(batch_of(fleet.fleet_id, "stolen", 1)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(commands.read(), 5)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert len(await read_all(fleet.bootstrap, TELEMETRY, "stolen")) == 1


async def test_people_and_strangers_may_not_send(fleet: Fleet, stub_of: StubOf, tmp_path: Path) -> None:
    engineer = stub_of(fleet.person("ml-engineer"))
    report = health_pb2.VehicleReport(fleet_id=fleet.fleet_id, vehicle_id="one", boot_id=b"12345678")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await engineer.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    stranger = Fleet(tmp_path, fleet.bootstrap, fleet.fleet_id).enrol("one")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(stranger).ReportHealth(telemetry_pb2.ReportHealthRequest(report=report), timeout=2)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_reports_reach_kafka_or_name_what_is_wrong(fleet: Fleet, stub_of: StubOf) -> None:
    stub = stub_of(fleet.enrol("reporter"))
    report = health_pb2.VehicleReport(
        fleet_id=fleet.fleet_id, vehicle_id="reporter", boot_id=b"12345678", sequence=3, distance_km=1.5
    )
    for _ in range(2):
        await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report))
    report.distance_km = float("nan")
    with pytest.raises(grpc.aio.AioRpcError, match=r"report\.distance_km") as caught:
        await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stored = await read_all(fleet.bootstrap, HEALTH, "reporter")
    assert len(stored) == 2
    assert len({event_id for event_id, _ in stored}) == 1


async def test_ingest_is_checked_the_same_way(fleet: Fleet, publisher: KafkaPublisher) -> None:
    fleet.enrol("direct")
    good, bad = (batch_of(fleet.fleet_id, "direct", number) for number in range(2))
    bad = replace(bad, columns={"Vehicle.Speed": Column(np.full(20, 900, np.float32))})
    for batch in (good, bad, good):
        await publisher.send_raw(INGEST, b"direct", encode_batch(batch).SerializeToString())
    await publisher.send_raw(INGEST, b"direct", encode_batch(replace(good, vehicle_id="one")).SerializeToString())
    await publisher.send_raw(INGEST, b"direct", b"\xff\xff no batch")
    deadline = time.monotonic() + 15
    while len(dead := await read_all(fleet.bootstrap, INGEST + DLQ_SUFFIX, "direct")) < 3:
        assert time.monotonic() < deadline, dead
        await asyncio.sleep(0.2)
    stored = await read_all(fleet.bootstrap, TELEMETRY, "direct")
    assert len(stored) == 2
    assert stored[0] == stored[1]


async def test_a_command_reaches_its_vehicle_whichever_gateway_holds_it(
    fleet: Fleet, publisher: KafkaPublisher, stub_of: StubOf
) -> None:
    credentials = fleet.enrol("commanded")
    request = telemetry_pb2.StreamCommandsRequest(fleet_id=fleet.fleet_id, vehicle_id="commanded")

    async def issue(command_id: str, attempt: int, lives_s: float = 60.0) -> None:
        now_ns = time.time_ns()
        command = command_pb2.VehicleCommand(
            command_id=command_id,
            fleet_id=fleet.fleet_id,
            vehicle_id="commanded",
            attempt=attempt,
            issued_at_utc_ns=now_ns,
            expires_at_utc_ns=now_ns + round(lives_s * 1e9),
            fetch_model=command_pb2.FetchModel(rollout_id="r"),
        )
        await publisher.publish([event_of(COMMAND, "commanded", f"{command_id}-{attempt}", command, now_ns)])

    await issue("early", 0)
    await issue("expired", 0, lives_s=-1)
    streams = [stub_of(credentials, number).StreamCommands(request) for number in (0, 1)]
    for stream in streams:
        assert (await asyncio.wait_for(stream.read(), 5)).command.command_id == "early"
    await issue("early", 0)  # the same attempt: known
    await issue("late", 0)
    await issue("early", 1)  # repeated on purpose: has to reach the vehicle again
    for stream in streams:
        heard = [(await asyncio.wait_for(stream.read(), 5)).command for _ in range(2)]
        assert [(command.command_id, command.attempt) for command in heard] == [("late", 0), ("early", 1)]

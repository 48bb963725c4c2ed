"""Clips through the real gateway: resumed after a SIGKILL, checked by digest, announced once Kafka has them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import grpc
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.integration.telemetry_processes import ROOT, Fleet, fleet_of

from fleetloop.domain.topics import CLIP
from fleetloop.kit.messaging.topics import create_topics, load_topics
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

MAGIC = b"\x89MCAP0\r\n"
CHUNK = 256 * 1024


def clip(seed: int, size: int = 2_000_000) -> bytes:
    return MAGIC + np.random.default_rng(seed).bytes(size - 16) + MAGIC


def header(fleet: Fleet, vehicle: str, content: bytes, **more: str) -> telemetry_pb2.ClipHeader:
    return telemetry_pb2.ClipHeader(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        fleet_id=fleet.fleet_id,
        vehicle_id=vehicle,
        boot_id=b"12345678",
        start_utc_ns=1_700_000_000_000_000_000,
        end_utc_ns=1_700_000_009_000_000_000,
        cameras=["front"],
        firing_id=more.get("firing_id", "firing"),
    )


async def parts(
    head: telemetry_pb2.ClipHeader, content: bytes, start: int = 0, stop: int | None = None
) -> AsyncIterator[telemetry_pb2.UploadClipRequest]:
    yield telemetry_pb2.UploadClipRequest(header=head)
    for at in range(start, len(content) if stop is None else stop, CHUNK):
        end = min(at + CHUNK, len(content) if stop is None else stop)
        yield telemetry_pb2.UploadClipRequest(chunk=telemetry_pb2.ClipChunk(offset=at, data=content[at:end]))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str) -> Iterator[Fleet]:
    asyncio.run(create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml")))
    with fleet_of(tmp_path_factory.mktemp("uploads"), kafka_bootstrap, f"f{uuid4().hex[:8]}") as fleet:
        fleet.service("telemetry_gateway", max_clip_bytes="4000000", max_open_uploads="2").start()
        yield fleet


def channel_of(fleet: Fleet, credentials: Credentials) -> grpc.aio.Channel:
    return open_channel(
        "telemetry-gateway", fleet.services[0].address, credentials.ca, credentials.cert, credentials.key
    )


async def announced(bootstrap: str, vehicle: str) -> list[clip_pb2.ClipStored]:
    """Everything in the clip topic of this vehicle."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(CLIP, number) for number in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += [clip_pb2.ClipStored.FromString(m.value) for m in messages if m.key == vehicle.encode()]
        return found
    finally:
        await consumer.stop()


async def test_an_upload_goes_on_after_the_gateway_was_killed_and_a_repeat_is_announced_again(fleet: Fleet) -> None:
    credentials = fleet.enrol("uploader")
    content = clip(1)
    head = header(fleet, "uploader", content)
    asked = telemetry_pb2.GetUploadRequest(sha256=head.sha256, vehicle_id="uploader")
    async with channel_of(fleet, credentials) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        call = stub.UploadClip()
        async for part in parts(head, content, stop=4 * CHUNK):
            await call.write(part)
        deadline = time.monotonic() + 10
        while (await stub.GetUpload(asked)).next_offset < 4 * CHUNK:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        fleet.services[0].kill()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    await asyncio.to_thread(fleet.services[0].start)
    async with channel_of(fleet, credentials) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        offset = (await stub.GetUpload(asked)).next_offset
        assert offset == 4 * CHUNK
        response = await stub.UploadClip(parts(head, content, start=offset))
        assert not response.already_stored
        again = await stub.UploadClip(parts(head, content, stop=0))
        assert again.already_stored
        assert again.address == response.address
        other = await stub.UploadClip(parts(header(fleet, "uploader", content, firing_id="second"), content, stop=0))
        assert other.already_stored
        progress = await stub.GetUpload(asked)
        assert progress.stored
    objects = Objects((fleet.folder / "objects").as_uri())
    assert objects.get(response.address) == content
    assert response.address == f"{fleet.fleet_id}/clips/2023-11-14/{head.sha256}.mcap"
    events = await announced(fleet.bootstrap, "uploader")
    assert [event.provenance.firing_id for event in events] == ["firing", "firing", "second"]
    assert events[0] == events[1]
    assert events[0].event_id != events[2].event_id
    assert events[0].provenance.clip_id == head.sha256
    assert not list((fleet.folder / "state").rglob("*.part"))


async def test_damaged_and_wrong_uploads_are_refused_by_name(fleet: Fleet) -> None:
    credentials = fleet.enrol("careless")
    content = clip(2, 300_000)
    head = header(fleet, "careless", content)
    damaged = content[:1000] + b"?" + content[1001:]
    no_mcap = b"x" * 1000
    foreign = header(fleet, "uploader", content)
    huge = telemetry_pb2.ClipHeader()
    huge.CopyFrom(head)
    huge.size_bytes = 5_000_000
    code = grpc.StatusCode
    async with channel_of(fleet, credentials) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        for requests, status, words in (
            (parts(head, damaged), code.DATA_LOSS, "sha256"),
            (parts(header(fleet, "careless", no_mcap), no_mcap), code.INVALID_ARGUMENT, "MCAP"),
            (parts(foreign, content), code.PERMISSION_DENIED, "header.vehicle_id"),
            (parts(huge, content), code.INVALID_ARGUMENT, "header.size_bytes"),
            (parts(head, content, start=CHUNK), code.INVALID_ARGUMENT, "chunk.offset"),
            (parts(head, content, stop=CHUNK), code.ABORTED, "chunk.offset"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
                await stub.UploadClip(requests)
            assert caught.value.code() is status, words
        assert not (await stub.UploadClip(parts(head, content))).already_stored  # from 0 again is allowed
        # Knowing the digest does not give another vehicle the clip: it must have the bytes.
        other = fleet.enrol("copycat")
        async with channel_of(fleet, other) as second:
            theirs = telemetry_pb2_grpc.TelemetryServiceStub(second)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await theirs.UploadClip(parts(header(fleet, "copycat", content), content, stop=0))
            assert caught.value.code() is code.ABORTED
    assert len(await announced(fleet.bootstrap, "careless")) == 1
    assert await announced(fleet.bootstrap, "copycat") == []


async def test_unfinished_uploads_are_bounded_and_a_newer_connection_takes_over(fleet: Fleet) -> None:
    credentials = fleet.enrol("greedy")
    contents = [clip(number, 500_000) for number in (3, 4, 5)]
    async with channel_of(fleet, credentials) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        hanging = stub.UploadClip()
        head = header(fleet, "greedy", contents[0])
        async for part in parts(head, contents[0], stop=CHUNK):
            await hanging.write(part)
        asked = telemetry_pb2.GetUploadRequest(sha256=head.sha256, vehicle_id="greedy")
        while (await stub.GetUpload(asked)).next_offset < CHUNK:
            await asyncio.sleep(0.02)
        with pytest.raises(grpc.aio.AioRpcError, match="resume from there"):
            await stub.UploadClip(parts(header(fleet, "greedy", contents[1]), contents[1], stop=CHUNK))
        abandoned = telemetry_pb2.GetUploadRequest(
            sha256=hashlib.sha256(contents[1]).hexdigest(), vehicle_id="greedy"
        )
        assert (await stub.GetUpload(abandoned)).next_offset == CHUNK
        third = await stub.UploadClip(parts(header(fleet, "greedy", contents[2]), contents[2]))
        assert not third.already_stored
        assert (await stub.GetUpload(abandoned)).next_offset == 0, "it made room for the third"
        assert (await stub.GetUpload(asked)).next_offset == CHUNK, "an upload in progress makes room for none"
        response = await stub.UploadClip(parts(head, contents[0], start=CHUNK))
        assert not response.already_stored
        with pytest.raises(grpc.aio.AioRpcError, match="superseded"):
            await asyncio.wait_for(hanging, 5)

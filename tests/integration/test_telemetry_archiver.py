"""The real archiver, killed again and again while a log with repeats is written: each frame is archived once."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest
from tests.integration.telemetry_processes import ROOT, Fleet, Service, batch_of, fleet_of

from fleetloop.domain.archive_files import (
    Footer,
    address_of,
    list_files,
    read_archive,
    read_footer,
    scan_archive,
    write_file,
)
from fleetloop.domain.messages import event_of
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.domain.topics import TELEMETRY
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import create_topics, load_topics
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.archive.v1 import archive_pb2, archive_pb2_grpc

VEHICLES = [f"v{number}" for number in range(6)]
BATCHES = 120
FRAMES = 20


async def produce(publisher: KafkaPublisher, fleet_id: str, vehicle_prefix: str, first: int, last: int) -> None:
    """Batches of all vehicles; every third one twice at once, and every tenth one once more, much later."""
    chance = np.random.default_rng(first)
    for sequence in range(first, last):
        events = []
        for vehicle in VEHICLES:
            numbers = [sequence] * (2 if chance.random() < 0.3 else 1)
            if chance.random() < 0.1:
                numbers.append(int(chance.integers(0, sequence + 1)))
            for number in numbers:
                batch = batch_of(fleet_id, vehicle_prefix + vehicle, number)
                events.append(event_of(TELEMETRY, batch.vehicle_id, "id", encode_batch(batch), time.time_ns()))
        await publisher.publish(events)


async def totals(fleet: Fleet, service: Service, prefix: str) -> tuple[int, int, archive_pb2.GetArchiveResponse]:
    who = fleet.person("ml-engineer")
    async with open_channel("telemetry-archiver", service.address, who.ca, who.cert, who.key) as channel:
        response = await archive_pb2_grpc.ArchiveServiceStub(channel).GetArchive(archive_pb2.GetArchiveRequest())
    mine = [vehicle for vehicle in response.vehicles if vehicle.vehicle_id.startswith(prefix)]
    return sum(vehicle.batches for vehicle in mine), sum(vehicle.frames for vehicle in mine), response


async def test_each_frame_is_archived_once_however_often_the_archiver_is_killed(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    await create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml"))
    publisher = KafkaPublisher("test", ServiceSettings(kafka_bootstrap_servers=kafka_bootstrap))
    await publisher.start()
    prefix = uuid4().hex[:8]
    with fleet_of(tmp_path, kafka_bootstrap, f"f{prefix}") as fleet:
        archivers = [
            fleet.service("telemetry_archiver", name, cut_after_s="0.3", cut_bytes="60000") for name in ("one", "two")
        ]
        for archiver in archivers:  # two that share the group: partitions move with every death
            await asyncio.to_thread(archiver.start)
        chance = np.random.default_rng(7)
        producing = asyncio.create_task(produce(publisher, fleet.fleet_id, prefix, 0, BATCHES))
        for number in range(3):
            await asyncio.sleep(float(chance.uniform(0.2, 0.9)))
            archivers[number % 2].kill()
            await asyncio.to_thread(archivers[number % 2].start)
        await producing
        wanted = len(VEHICLES) * BATCHES
        deadline = time.monotonic() + 90
        while (await totals(fleet, archivers[0], prefix))[0] < wanted:
            assert time.monotonic() < deadline, await totals(fleet, archivers[0], prefix)
            await asyncio.sleep(0.3)
        batches, frames, response = await totals(fleet, archivers[0], prefix)
        assert (batches, frames) == (wanted, wanted * FRAMES)
        assert response.repeats_dropped > 0
        assert [archiver.stop() for archiver in archivers] == [0, 0]

        objects = Objects((tmp_path / "objects").as_uri())
        archived = [b for b in read_archive(objects, fleet.fleet_id) if b.vehicle_id.startswith(prefix)]
        assert sorted((b.vehicle_id, b.sequence) for b in archived) == sorted(
            (prefix + vehicle, sequence) for vehicle in VEHICLES for sequence in range(BATCHES)
        )
        for found in archived[:: len(archived) // 20]:
            sent = batch_of(fleet.fleet_id, found.vehicle_id, found.sequence)
            np.testing.assert_array_equal(found.frame_offsets_ns, sent.frame_offsets_ns)
            assert set(found.columns) == set(sent.columns)
            for path, column in sent.columns.items():
                np.testing.assert_array_equal(found.columns[path].values, column.values)
        for partition in range(4):
            footers = [read_footer(objects, address) for address in list_files(objects, fleet.fleet_id, partition)]
            assert all(b.first_offset == a.last_offset + 1 for a, b in pairwise(footers))
        frame = scan_archive(tmp_path / "objects")
        assert "Vehicle.Speed" in frame.collect_schema().names()
    await publisher.stop()


async def test_the_archive_tells_nothing_to_vehicles(tmp_path: Path, kafka_bootstrap: str) -> None:
    await create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml"))
    with fleet_of(tmp_path, kafka_bootstrap, f"f{uuid4().hex[:8]}") as fleet:
        archiver = fleet.service("telemetry_archiver")
        await asyncio.to_thread(archiver.start)
        who = fleet.enrol("v1")
        async with open_channel("telemetry-archiver", archiver.address, who.ca, who.cert, who.key) as channel:
            stub = archive_pb2_grpc.ArchiveServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetArchive(archive_pb2.GetArchiveRequest())
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_archive_of_another_log_ends_the_process_with_a_remedy(tmp_path: Path, kafka_bootstrap: str) -> None:
    await create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml"))
    with fleet_of(tmp_path, kafka_bootstrap, f"f{uuid4().hex[:8]}") as fleet:
        objects = Objects((tmp_path / "objects").as_uri())
        footer = Footer(0, 10**9, 1, 2, 0, 0)
        for partition in range(4):
            objects.put_once(address_of(fleet.fleet_id, partition, 0), write_file([], footer))
        archiver = fleet.service("telemetry_archiver")
        assert await asyncio.to_thread(archiver.launch().wait, 60) == 70
        assert "Move the folder of the archive away" in archiver.log.read_text()

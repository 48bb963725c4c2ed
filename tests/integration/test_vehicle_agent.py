"""The real agent, as a process, against the real gateway: a recorded drive arrives whole, kills and all."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from tests.integration.telemetry_processes import ROOT, Fleet, Service, fleet_of
from tests.integration.test_telemetry_gateway import read_all

from fleetloop.domain.clips import DriveInfo, DriveWriter, read_drive
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.messages import event_of
from fleetloop.domain.telemetry_codec import decode_batch
from fleetloop.domain.topics import CLIP, COMMAND, TELEMETRY
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import create_topics, load_topics
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.worlds.comma2k19 import convert, find_comma2k19

S = 1_000_000_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str) -> Iterator[Fleet]:
    asyncio.run(create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml")))
    with fleet_of(tmp_path_factory.mktemp("agent"), kafka_bootstrap, f"f{uuid4().hex[:8]}") as fleet:
        fleet.service("telemetry_gateway").start()
        yield fleet


class Agent:
    """A process of one vehicle that replays a drive."""

    def __init__(self, fleet: Fleet, folder: Path, prefix: str, drive: Path, **more: str) -> None:
        self.vehicle = f"{prefix}000"
        self.control = folder / "control"
        fleet.enrol(self.vehicle)
        options = {
            "world": "drive",
            "drive": str(drive),
            "fleet-id": fleet.fleet_id,
            "telemetry-gateway-address": fleet.services[0].address,
            "identities": str(fleet.folder / "vehicles"),
            "state-dir": str(folder / "vehicles"),
            "config-dir": str(ROOT / "config"),
            "prefix": prefix,
            "control": str(self.control),
            "rate": "0",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        self.command = [
            sys.executable,
            "-m",
            "vehicle_agent",
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        self.log = folder / "agent.log"

    def start(self) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, env=env, stderr=log)

    def run(self, within_s: float = 60) -> None:
        process = self.start()
        try:
            assert process.wait(within_s) == 0, self.log.read_text()[-3000:]
        finally:
            process.kill()
            process.wait(10)

    def progress(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.control / "progress-000.json").read_text())
        return found


def made_drive(path: Path, seconds: int, side: int = 0) -> Path:
    """A drive with two rates, a list, and (with `side`) a camera whose pictures do not compress."""
    chance = np.random.default_rng(5)
    times = np.sort(chance.integers(0, seconds * S, seconds * 50)).astype(np.int64) + 7 * S
    slow = np.arange(7 * S, (7 + seconds) * S, S, dtype=np.int64)
    splits = np.arange(0, 2 * len(slow) + 1, 2, dtype=np.uint32)
    with DriveWriter(path, DriveInfo("somebody", "d", 7 * S, 1_600_000_000 * S, "gnss")) as drive:
        drive.signal("Vehicle.Speed", times, chance.uniform(0, 100, len(times)).astype(np.float32))
        drive.signal("Radar.Object.Id", slow, np.arange(2 * len(slow)), splits)
        for tick in range(0, seconds * 2 if side else 0):
            drive.image("front", 7 * S + tick * S // 2, chance.integers(0, 256, (side, side, 3)).astype(np.uint8))
    return path


async def telemetry_of(fleet: Fleet, vehicle: str) -> dict[str, FrameBatch]:
    """Batches in Kafka by event id, in order; repeats are the same to the byte."""
    found: dict[str, bytes] = {}
    for event_id, value in await read_all(fleet.bootstrap, TELEMETRY, vehicle):
        assert event_id is not None
        assert found.setdefault(event_id, value) == value
    return {k: decode_batch(telemetry_pb2.TelemetryBatch.FromString(value)) for k, value in found.items()}


def values_of(batches: list[FrameBatch], path: str) -> tuple[list[int], list[float]]:
    times: list[int] = []
    values: list[float] = []
    for batch in sorted(batches, key=lambda batch: batch.sequence):
        column = batch.columns.get(path)
        if column is not None:
            offsets = batch.frame_offsets_ns if column.offsets_ns is None else column.offsets_ns
            times += (offsets + batch.start_monotonic_ns).tolist()
            values += column.values.tolist()
    return times, values


async def test_a_recorded_drive_arrives_whole_though_the_agent_is_killed(fleet: Fleet, tmp_path: Path) -> None:
    drive = made_drive(tmp_path / "drive.mcap", 400)
    agent = Agent(fleet, tmp_path, "killed-", drive, frames_per_batch="20", max_unacknowledged="8")
    for stored in (20, 200):
        process = agent.start()
        deadline = time.monotonic() + 30
        while len(await telemetry_of(fleet, agent.vehicle)) < stored:
            assert time.monotonic() < deadline and process.poll() is None, agent.log.read_text()[-3000:]
        process.kill()
        process.wait(10)
    await asyncio.to_thread(agent.run)
    batches = list((await telemetry_of(fleet, agent.vehicle)).values())
    assert len({batch.boot_id for batch in batches}) == 1
    assert sorted(batch.sequence for batch in batches) == list(range(1000))
    recorded = read_drive(drive).signals
    for path in ("Vehicle.Speed", "Radar.Object.Id"):
        times, values = values_of(batches, path)
        assert values == recorded[path].values.tolist()
        assert len(times) == recorded[path].rows() or path != "Vehicle.Speed"
    assert values_of(batches, "Vehicle.Speed")[0] == recorded["Vehicle.Speed"].times_ns.tolist()
    assert list((tmp_path / "vehicles" / agent.vehicle / "batches").iterdir()) == []


def send_clip(fleet: Fleet, vehicle: str, boot: bytes, start_s: float, end_s: float, attempt: int = 0) -> Event:
    now_ns = time.time_ns()
    return event_of(
        COMMAND,
        vehicle,
        f"clip-{vehicle}-{attempt}",
        command_pb2.VehicleCommand(
            command_id=f"clip-{vehicle}",
            fleet_id=fleet.fleet_id,
            vehicle_id=vehicle,
            attempt=attempt,
            issued_at_utc_ns=now_ns,
            expires_at_utc_ns=now_ns + 120 * S,
            send_clip=command_pb2.SendClip(
                firing_id="firing-1",
                boot_id=boot,
                start_monotonic_ns=round(start_s * S),
                end_monotonic_ns=round(end_s * S),
                onset_monotonic_ns=round((start_s + end_s) / 2 * S),
                trigger="hard_braking",
            ),
        ),
        now_ns,
    )


async def stored_clips(fleet: Fleet, vehicle: str) -> list[clip_pb2.ClipStored]:
    return [clip_pb2.ClipStored.FromString(value) for _, value in await read_all(fleet.bootstrap, CLIP, vehicle)]


async def test_an_asked_for_clip_comes_though_agent_and_gateway_are_killed_over_its_upload(
    fleet: Fleet, tmp_path: Path
) -> None:
    drive = made_drive(tmp_path / "drive.mcap", 60, side=128)
    agent = Agent(fleet, tmp_path, "clip-", drive, rate="30", linger_s="60", chunk_pause_s="0.25")
    gateway: Service = fleet.services[0]
    publisher = KafkaPublisher("test", ServiceSettings(kafka_bootstrap_servers=fleet.bootstrap))
    await publisher.start()
    process = agent.start()
    try:
        deadline = time.monotonic() + 60
        while not (batches := await telemetry_of(fleet, agent.vehicle)):
            assert time.monotonic() < deadline and process.poll() is None, agent.log.read_text()[-3000:]
        boot = next(iter(batches.values())).boot_id
        for attempt in range(2):  # the router repeats itself
            await publisher.publish([send_clip(fleet, agent.vehicle, boot, 20, 50, attempt)])
        parts = fleet.folder / "state" / "telemetry_gateway"
        while not any(part.stat().st_size > 500_000 for part in parts.rglob("*.part")):
            assert time.monotonic() < deadline and process.poll() is None, agent.log.read_text()[-3000:]
            await asyncio.sleep(0.02)
        process.kill()
        process.wait(10)
        gateway.kill()
        (part,) = parts.rglob("*.part")
        safe = part.stat().st_size
        await asyncio.to_thread(gateway.start)
        process = agent.start()
        while not (clips := await stored_clips(fleet, agent.vehicle)):
            assert time.monotonic() < deadline and process.poll() is None, agent.log.read_text()[-3000:]
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(10)
        await publisher.stop()
    assert len({clip.event_id for clip in clips}) == 1
    clip = clips[0]
    assert (clip.command_id, clip.provenance.firing_id, list(clip.cameras)) == (
        f"clip-{agent.vehicle}",
        "firing-1",
        ["front"],
    )
    content = Objects((fleet.folder / "objects").as_uri()).get(clip.address)
    assert len(content) == clip.size_bytes > safe > 500_000
    part_drive, whole = read_drive(content), read_drive(drive)
    assert part_drive.info.trigger == "hard_braking"
    np.testing.assert_array_equal(
        part_drive.signals["Vehicle.Speed"].values, whole.signals["Vehicle.Speed"].between(20 * S, 50 * S).values
    )
    wanted = [image for image in whole.images("front") if 20 * S <= image.time_ns <= 50 * S]
    assert part_drive.images("front") == wanted
    moment = 35 * S
    frames = part_drive.frames_at(["front"], moment, 3, 0.5)
    np.testing.assert_array_equal(frames, whole.frames_at(["front"], moment, 3, 0.5))


async def test_a_clip_of_seconds_that_are_gone_is_counted(fleet: Fleet, tmp_path: Path) -> None:
    drive = made_drive(tmp_path / "drive.mcap", 20)
    agent = Agent(fleet, tmp_path, "gone-", drive, linger_s="5")
    publisher = KafkaPublisher("test", ServiceSettings(kafka_bootstrap_servers=fleet.bootstrap))
    await publisher.start()
    await publisher.publish([send_clip(fleet, agent.vehicle, b"long ago", 20, 30)])
    await publisher.stop()
    await asyncio.to_thread(agent.run)
    assert agent.progress()["faults"] == {"clip_gone": 1}
    assert await stored_clips(fleet, agent.vehicle) == []


SEGMENT = find_comma2k19()


@pytest.mark.skipif(SEGMENT is None, reason="comma2k19 is not here; set FLEETLOOP_COMMA2K19 to a segment's folder")
async def test_the_real_minute_arrives_with_its_real_times(fleet: Fleet, tmp_path: Path) -> None:
    assert SEGMENT is not None
    convert(SEGMENT, tmp_path / "minute.mcap")
    agent = Agent(fleet, tmp_path, "real-", tmp_path / "minute.mcap")
    await asyncio.to_thread(agent.run)
    batches = list((await telemetry_of(fleet, agent.vehicle)).values())
    assert sum(batch.frames() for batch in batches) == 6256
    raw = np.load(SEGMENT / "processed_log" / "CAN" / "speed" / "t")
    times, values = values_of(batches, "Vehicle.Speed")
    assert times == np.round(raw * 1e9).astype(np.int64).tolist()
    assert len(values) == 4974
    progress = agent.progress()
    assert (progress["batches_stored"], progress["batches_rejected"]) == (len(batches), 0)


def test_a_vehicle_without_a_certificate_is_told_what_to_do(fleet: Fleet, tmp_path: Path) -> None:
    drive = made_drive(tmp_path / "drive.mcap", 2)
    agent = Agent(fleet, tmp_path, "unknown-", drive)
    agent.command.append("--first=7")
    done = subprocess.run(agent.command, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert "fleetloop vehicles enrol unknown-007" in done.stderr.decode()

"""The detector as a process on a real broker: killed, given repeats, handed rubbish, told of new campaigns."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.messages import event_of
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.domain.topics import CAMPAIGN, TELEMETRY, TRIGGER
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import DLQ_SUFFIX, create_topics, load_topics
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.definition import to_definition
from fleetloop.triggerlang.trigger import Trigger
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision
from trigger_detector.plan import make_plan
from trigger_detector.settings import TriggerDetectorSettings

ROOT = Path(__file__).parents[2]
CATALOGUE = load_catalogue(ROOT / "config" / "signals.yaml")
KILLS = int(os.environ.get("FLEETLOOP_KILLS", "5"))
"""How often the detector is killed; docs/results/triggers.md has a run with twenty."""
BATCH_NS = 2 * 10**9
FAST = Trigger("fast", 1, "Vehicle.Speed > 50 km/h", min_interval_s=0.5, evidence=("Vehicle.Speed",))
SMOOTH = Trigger("smooth", 1, "mean(Vehicle.Speed, 5 s) > 42 km/h", min_interval_s=0.5)


@pytest.fixture
async def settings(kafka_bootstrap: str) -> TriggerDetectorSettings:
    await create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml"))
    return TriggerDetectorSettings(kafka_bootstrap_servers=kafka_bootstrap)


@pytest.fixture
async def publisher(settings: TriggerDetectorSettings) -> AsyncIterator[KafkaPublisher]:
    made = KafkaPublisher("test", settings)
    await made.start()
    yield made
    await made.stop()


def batches_of(vehicle: str, number: int, seed: int) -> list[FrameBatch]:
    """Speeds that wander around 40 km/h at 20 Hz, in batches of two seconds."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 2.5, number * 40)
    speed, wandering = 40.0, []
    for change in steps:
        speed += change - 0.05 * (speed - 40)
        wandering.append(speed)
    offsets = np.arange(40, dtype=np.int64) * 50_000_000
    start_utc_ns = 1_700_000_000 * 10**9
    return [
        FrameBatch(
            "demo", vehicle, b"boot-one", i, i * BATCH_NS, start_utc_ns + i * BATCH_NS, "simulated", offsets,
            {"Vehicle.Speed": Column(np.clip(wandering[40 * i : 40 * i + 40], 0, 300).astype(np.float32))},
        )
        for i in range(number)
    ]  # fmt: skip


def expected(batches: Sequence[FrameBatch], campaign: str, *triggers: Trigger) -> dict[str, str]:
    """Firing id to trigger, by the core without Kafka, in one call."""
    plan, problems = make_plan([(CampaignRevision(campaign, 1, True, triggers), 0)], CATALOGUE, _LIMITS)
    assert problems == ()
    result = evaluate_batches_in_place(DetectorState(), [Appended(b, 10**9) for b in batches], plan)
    return {f.firing_id: f.trigger.name for f in result.firings}


_LIMITS = TriggerDetectorSettings(kafka_bootstrap_servers="unused:1").limits()


async def announce(
    publisher: KafkaPublisher, campaign: str, revision: int, running: bool, *triggers: Trigger, from_ns: int = 0
) -> None:
    state = campaign_pb2.CAMPAIGN_STATE_RUNNING if running else campaign_pb2.CAMPAIGN_STATE_SUSPENDED
    message = campaign_pb2.Campaign(
        campaign=campaign,
        revision=revision,
        state=state,
        triggers=[to_definition(t) for t in triggers],
        in_force_from_utc_ns=from_ns,
    )
    await publisher.publish([event_of(CAMPAIGN, campaign, causal_id("c", campaign, revision), message, 0)])


async def send(publisher: KafkaPublisher, *batches: FrameBatch) -> None:
    events = [
        event_of(TELEMETRY, b.vehicle_id, causal_id("b", b.vehicle_id, b.sequence), encode_batch(b), b.start_utc_ns)
        for b in batches
    ]
    await publisher.publish(events)


class Detector:
    """The process under test."""

    def __init__(self, bootstrap: str, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'libraries'}:{ROOT / 'services'}",
            "FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "FLEETLOOP_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "FLEETLOOP_INSTANCE_ID": "the-only-one",
            "FLEETLOOP_CONFIG_DIR": str(ROOT / "config"),
        }
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "trigger_detector", env=self._environment, stdout=log, stderr=log
            )

    async def until_ready(self, timeout_s: float = 60) -> None:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as http:
            while True:
                assert self._process is not None
                assert self._process.returncode is None, self._log.read_text()[-3000:]
                try:
                    async with http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)

    async def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()


@asynccontextmanager
async def detector(bootstrap: str, log: Path) -> AsyncIterator[Detector]:
    running = Detector(bootstrap, log)
    await running.start()
    try:
        yield running
    finally:
        await running.end(signal.SIGKILL)


async def read_all(bootstrap: str, topic: str, vehicles: set[str]) -> list[trigger_pb2.TriggerFired]:
    """Every firing of some vehicles that is in the topic now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for p in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += [trigger_pb2.TriggerFired.FromString(m.value) for m in messages]
        return [f for f in found if f.provenance.vehicle_id in vehicles]
    finally:
        await consumer.stop()


async def until_fired(
    bootstrap: str, vehicles: set[str], wanted: set[str], timeout_s: float = 40
) -> list[trigger_pb2.TriggerFired]:
    async with asyncio.timeout(timeout_s):
        while True:
            found = await read_all(bootstrap, TRIGGER, vehicles)
            if wanted <= {f.event_id for f in found}:
                return found
            await asyncio.sleep(0.3)


async def test_kills_and_repeats_lose_no_firing_and_double_none(
    kafka_bootstrap: str, publisher: KafkaPublisher, tmp_path: Path
) -> None:
    run = uuid4().hex[:8]
    vehicles = [f"kill-{run}-{i}" for i in range(6)]
    mine = (f"kill-{run}-*",)
    fast = Trigger(f"fast_{run}", 1, FAST.expression, min_interval_s=0.5, vehicles=mine, evidence=FAST.evidence)
    smooth = Trigger(f"smooth_{run}", 1, SMOOTH.expression, min_interval_s=0.5, vehicles=mine)
    batches = 7 * KILLS + 5
    drives = {vehicle: batches_of(vehicle, batches, seed) for seed, vehicle in enumerate(vehicles)}
    wanted = {k: v for d in drives.values() for k, v in expected(d, run, fast, smooth).items()}
    assert {fast.name, smooth.name} == set(wanted.values())
    await announce(publisher, run, 1, True, fast, smooth)
    rng = np.random.default_rng(5)
    async with detector(kafka_bootstrap, tmp_path / "log") as running:
        for i in range(batches):
            for drive in drives.values():
                await send(publisher, drive[i])
                if rng.random() < 0.2:
                    await send(publisher, drive[int(rng.integers(max(0, i - 3), i + 1))])
            if i % 7 == 6 and i // 7 < KILLS:
                await running.until_ready()
                await asyncio.sleep(float(rng.random()) * 0.4)
                assert await running.end(signal.SIGKILL) == -signal.SIGKILL
                await running.start()
        found = await until_fired(kafka_bootstrap, set(vehicles), set(wanted))
        await asyncio.sleep(1)
        found = await read_all(kafka_bootstrap, TRIGGER, set(vehicles))
        assert {f.event_id for f in found} == set(wanted)
        onsets = {f.event_id: (f.onset_monotonic_ns, f.provenance.trigger) for f in found}
        assert all(onsets[f.event_id] == (f.onset_monotonic_ns, f.provenance.trigger) for f in found)
        assert all(f.evidence["Vehicle.Speed"] > 50 for f in found if f.provenance.trigger == fast.name)
        assert await running.end(signal.SIGTERM) == 0
    await announce(publisher, run, 2, False)


async def test_rubbish_goes_to_the_dead_letters_and_campaigns_change_on_the_way(
    kafka_bootstrap: str, publisher: KafkaPublisher, tmp_path: Path
) -> None:
    run = uuid4().hex[:8]
    vehicle = f"change-{run}"
    first = Trigger(f"first_{run}", 1, FAST.expression, min_interval_s=0.5, vehicles=(vehicle,))
    wrong = Trigger(f"wrong_{run}", 1, "Vehicle.Sped > 50 km/h", vehicles=(vehicle,))
    second = Trigger(f"second_{run}", 1, SMOOTH.expression, min_interval_s=0.5, vehicles=(vehicle,))
    drive = batches_of(vehicle, 40, 3)
    change_ns = drive[20].start_utc_ns
    before = set(expected(drive[:20], run, first))
    after = set(expected(drive, run, second)) - set(expected(drive[:20], run, second))
    assert before
    assert after
    await announce(publisher, run, 1, True, first, wrong)
    async with detector(kafka_bootstrap, tmp_path / "log") as running:
        await running.until_ready()
        await publisher.send_raw(TELEMETRY, vehicle.encode(), b"\xff rubbish")
        unsorted = FrameBatch("demo", vehicle, b"boot-one", 999, 0, 0, "gnss", np.array([5, 1], np.int64), {})
        await send(publisher, unsorted, *drive[:20])
        await until_fired(kafka_bootstrap, {vehicle}, before)
        await announce(publisher, run, 2, True, second, from_ns=change_ns)
        await asyncio.sleep(1)
        await send(publisher, *drive[20:])
        await until_fired(kafka_bootstrap, {vehicle}, after)
        await asyncio.sleep(1)
        found = await read_all(kafka_bootstrap, TRIGGER, {vehicle})
        assert {f.event_id for f in found} == before | after
    letters = AIOKafkaConsumer(
        TELEMETRY + DLQ_SUFFIX, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest"
    )
    await letters.start()
    try:
        dead: list[bytes] = []
        async with asyncio.timeout(20):
            while len(dead) < 2:
                for messages in (await letters.getmany(timeout_ms=200)).values():
                    dead += [dict(m.headers)["error"] for m in messages if m.key == vehicle.encode()]
    finally:
        await letters.stop()
    assert b"TelemetryBatch" in dead[0]
    assert b"frame_offsets_ns: time runs backwards" in dead[1]
    assert b"trigger_refused" in (tmp_path / "log").read_bytes()
    await announce(publisher, run, 3, False)

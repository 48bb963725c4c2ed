"""The detector's shell against a consumer in memory: what it announces, what it commits, and what counts as lag."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import REGISTRY
from tests.unit.fleetloop.kit.messaging.fake_consumer import FakeConsumer, eventually, install
from tests.unit.trigger_detector.test_partition import FAST, LOG

from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.topics import CAMPAIGN, TELEMETRY
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.partition_reader import GroupReader
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.triggerlang.definition import to_definition
from trigger_detector import stream as detector_stream
from trigger_detector.settings import TriggerDetectorSettings
from trigger_detector.stream import SERVICE, DetectorStream

TP, CAMPAIGNS = TopicPartition(TELEMETRY, 0), TopicPartition(CAMPAIGN, 0)
CATALOGUE = load_catalogue(Path(__file__).parents[3] / "config" / "signals.yaml")
SETTINGS = TriggerDetectorSettings(kafka_bootstrap_servers="nowhere:1", stuck_after_s=60)


class Outlet:
    """Keeps what is published, once `open`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.dead: list[int] = []
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, events: Iterable[Event]) -> None:
        self.asked.set()
        await self.open.wait()
        self.events.extend(events)

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.dead.append(record.offset)


class Running:
    """A detector with a campaign that runs FAST, on a telemetry partition with LOG."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, committed: OffsetAndMetadata | None = None) -> None:
        self.telemetry, campaigns = FakeConsumer(), FakeConsumer()
        install({SERVICE: self.telemetry, f"{SERVICE}-campaigns": campaigns}, monkeypatch)
        campaign = campaign_pb2.Campaign(
            campaign="c", revision=1, state=campaign_pb2.CAMPAIGN_STATE_RUNNING, triggers=[to_definition(FAST)]
        )
        campaigns.append(CAMPAIGNS, value=campaign.SerializeToString(), key=b"c")
        for record in LOG:
            self.telemetry.append(TP, timestamp=record.appended_ms, value=record.value, key=b"v")

        async def answer(reader: GroupReader, partition: TopicPartition) -> OffsetAndMetadata | None:
            return committed

        monkeypatch.setattr(GroupReader, "committed", answer)
        monkeypatch.setattr(detector_stream, "warm", lambda: None)
        self.clock, self.outlet, self.stopping = ManualClock(), Outlet(), asyncio.Event()
        self.stream = DetectorStream(SETTINGS, CATALOGUE, self.outlet, self.clock)

    async def start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.stream.run(self.stopping))
        await eventually(lambda: self.telemetry.started)
        await self.telemetry.join(TP)
        return task


def lag() -> float | None:
    labels = {"service": SERVICE, "topic": TELEMETRY, "partition": "0"}
    return REGISTRY.get_sample_value("fleetloop_consumer_lag_messages", labels)


async def test_firings_are_announced_and_then_committed_with_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    task = await running.start()
    await eventually(lambda: bool(running.telemetry.commits))
    assert len(running.outlet.events) == 2
    assert running.telemetry.commits == [{TP: OffsetAndMetadata(6, "5000")}]
    assert lag() == 0
    running.stopping.set()
    await asyncio.wait_for(task, 5)


async def test_what_is_not_announced_is_lag_and_hanging_on_it_is_being_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(monkeypatch)
    running.outlet.open.clear()
    task = await running.start()
    await asyncio.wait_for(running.outlet.asked.wait(), 10)
    await asyncio.sleep(0.05)  # passes without records go by meanwhile
    assert lag() == 6
    running.clock.advance(61)
    assert running.stream.problem() == "6 messages behind and no commit for 61 s"
    running.outlet.open.set()
    await eventually(lambda: running.stream.problem() is None)
    running.stopping.set()
    await asyncio.wait_for(task, 5)
    assert running.telemetry.commits == [{TP: OffsetAndMetadata(6, "5000")}]


async def test_a_replay_announces_and_commits_nothing_and_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(monkeypatch, committed=OffsetAndMetadata(6, "5000"))
    marks: list[int] = []
    monkeypatch.setattr(GroupReader, "mark_progress", lambda reader: marks.append(1))
    task = await running.start()
    await eventually(lambda: bool(marks))
    assert (running.outlet.events, running.telemetry.commits, lag()) == ([], [], 0)
    running.stopping.set()
    await asyncio.wait_for(task, 5)


async def test_alerts_see_the_first_dead_letter_of_a_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(monkeypatch)
    for topic in (TELEMETRY, CAMPAIGN):
        labels = {"service": SERVICE, "topic": topic, "reason": "unreadable"}
        assert REGISTRY.get_sample_value("fleetloop_dead_letters_total", labels) == 0
    last = REGISTRY.get_sample_value("fleetloop_consumer_last_commit_timestamp_seconds", {"service": SERVICE})
    assert last == running.clock.utc_ns / 1e9

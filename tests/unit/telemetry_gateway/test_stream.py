"""The feed of commands against a consumer in memory."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY
from tests.unit.fleetloop.kit.messaging.fake_consumer import FakeConsumer, eventually

from fleetloop.domain.topics import COMMAND
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.command.v1 import command_pb2
from telemetry_gateway.stream import CommandFeed

TP = TopicPartition(COMMAND, 0)
SETTINGS = ServiceSettings(kafka_bootstrap_servers="nowhere:1", stuck_after_s=60)


def command(clock: ManualClock, command_id: str, vehicle: str = "car-1", seconds: float = 60) -> bytes:
    expires_ns = clock.utc_ns + round(seconds * 1e9)
    return command_pb2.VehicleCommand(
        command_id=command_id, vehicle_id=vehicle, expires_at_utc_ns=expires_ns
    ).SerializeToString()


async def test_a_stream_hears_what_stands_and_then_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, consumer, stopping = ManualClock(), FakeConsumer().install(monkeypatch), asyncio.Event()
    now_ms = clock.utc_ns // 1_000_000
    consumer.append(TP, timestamp=now_ms - 200_000, value=command(clock, "too-old-to-be-read"))
    consumer.append(TP, timestamp=now_ms, value=command(clock, "expired", seconds=0))
    consumer.append(TP, timestamp=now_ms, value=b"no command")
    consumer.append(TP, timestamp=now_ms, value=command(clock, "another's", vehicle="car-2"))
    consumer.append(TP, timestamp=now_ms, value=command(clock, "standing"))
    feed = CommandFeed("feed-hears", SETTINGS, clock, horizon_s=100)
    task = asyncio.create_task(feed.run(stopping))
    await asyncio.wait_for(feed.caught_up.wait(), 5)
    heard = feed.watch("car-1", stopping, 60)
    assert [each.command_id for each in await anext(heard)] == ["standing"]
    waiting = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    consumer.append(TP, timestamp=now_ms, value=command(clock, "new"))
    assert [each.command_id for each in await asyncio.wait_for(waiting, 5)] == ["new"]
    stopping.set()
    await asyncio.wait_for(task, 5)


async def test_a_silent_stream_is_woken_for_its_admission_check(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, consumer, stopping = ManualClock(), FakeConsumer().install(monkeypatch), asyncio.Event()
    consumer.append(TP, 0)
    feed = CommandFeed("feed-silent", SETTINGS, clock, horizon_s=100)
    task = asyncio.create_task(feed.run(stopping))
    await asyncio.wait_for(feed.caught_up.wait(), 5)
    heard = feed.watch("car-1", stopping, 0.02)
    assert [await asyncio.wait_for(anext(heard), 5) for _ in range(3)] == [(), (), ()]
    stopping.set()
    await asyncio.wait_for(task, 5)
    assert [each async for each in heard] == [], "and its end is heard of"


async def test_a_feed_that_hangs_is_stuck_and_one_that_reads_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, consumer, stopping = ManualClock(), FakeConsumer().install(monkeypatch), asyncio.Event()
    consumer.append(TP, value=command(clock, "one"), timestamp=clock.utc_ns // 1_000_000)
    feed = CommandFeed("feed-stuck", SETTINGS, clock, horizon_s=100)
    task = asyncio.create_task(feed.run(stopping))
    await asyncio.wait_for(feed.caught_up.wait(), 5)
    labels = {"service": "feed-stuck", "topic": COMMAND, "partition": "0"}
    lag = "fleetloop_consumer_lag_messages"
    await eventually(lambda: REGISTRY.get_sample_value(lag, labels) == 0)
    clock.advance(3600)
    await asyncio.sleep(0.02)
    assert feed.problem() is None
    monkeypatch.setattr(consumer, "getmany", lambda **_: asyncio.sleep(0, {}))  # the broker sends nothing more
    await asyncio.sleep(0.02)
    consumer.append(TP, value=command(clock, "two"))
    await eventually(lambda: REGISTRY.get_sample_value(lag, labels) == 1)
    clock.advance(61)
    assert feed.problem() == "1 messages behind and no commit for 61 s"
    stopping.set()
    await asyncio.wait_for(task, 5)

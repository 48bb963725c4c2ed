"""A backtest finds exactly what the detector sent, on one real log with repeats, lateness and kills."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from tests.integration.telemetry_processes import ROOT, fleet_of
from tests.integration.test_trigger_detector import CATALOGUE, announce, detector, read_all, send
from tests.unit.trigger_detector.library_cases import CASES
from tests.unit.trigger_detector.synthetic_drives import synthetic_drive

from fleetloop.backtesting.subprocess_runner import replay
from fleetloop.domain.archive_files import list_files, read_footer
from fleetloop.domain.replay_progress import ReplayProgress
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import create_topics, load_topics
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.storage.objects import Objects
from fleetloop.triggerlang.trigger import Trigger, parse_trigger

START_NS = 1_700_000_000 * 10**9


@pytest.fixture
async def publisher(kafka_bootstrap: str) -> AsyncIterator[KafkaPublisher]:
    await create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml"))
    made_one = KafkaPublisher("test", ServiceSettings(kafka_bootstrap_servers=kafka_bootstrap))
    await made_one.start()
    yield made_one
    await made_one.stop()


def library(run: str) -> list[Trigger]:
    folder = ROOT / "config" / "triggers" / "library"
    triggers = [parse_trigger((folder / f"{name}.yaml").read_text()) for name in CASES]
    return [replace(t, name=f"{t.name}_{run}", vehicles=(f"bt-{run}-*",)) for t in triggers]


def archived(objects: Objects, fleet_id: str, prefix: str) -> int:
    """Batches of some vehicles that are in closed files."""
    footers = [read_footer(objects, address) for address in list_files(objects, fleet_id)]
    return sum(t.batches for f in footers for vehicle, t in f.vehicles.items() if vehicle.startswith(prefix))


async def test_it_finds_what_the_detector_sent(
    kafka_bootstrap: str, publisher: KafkaPublisher, tmp_path: Path
) -> None:
    run = uuid4().hex[:8]
    triggers = library(run)
    drives = {
        f"bt-{run}-{kind}{number}": [
            replace(b, fleet_id="demo", vehicle_id=f"bt-{run}-{kind}{number}",
                    start_utc_ns=START_NS + b.start_monotonic_ns)
            for b in synthetic_drive(changes, CATALOGUE)
        ]
        for number, pair in enumerate(CASES.values())
        for kind, changes in zip("hn", pair, strict=True)
    }  # fmt: skip
    chance = np.random.default_rng(4)
    for place, drive in enumerate(drives.values()):
        if place % 9 == 4:
            drive[1], drive[2] = drive[2], drive[1]  # late
    await announce(publisher, f"bt-{run}", 1, True, *triggers)
    with fleet_of(tmp_path, kafka_bootstrap, f"f{run}") as fleet:
        archiver = fleet.service("telemetry_archiver", cut_after_s="0.5")
        await asyncio.to_thread(archiver.start)
        async with detector(kafka_bootstrap, tmp_path / "log") as running:
            await running.until_ready()
            for number in range(4):
                for drive in drives.values():
                    await send(publisher, drive[number])
                    if chance.random() < 0.2:
                        await send(publisher, drive[int(chance.integers(0, number + 1))])
                if number == 1:
                    assert await running.end(signal.SIGKILL) == -signal.SIGKILL
                    await running.start()
                    archiver.kill()
                    await asyncio.to_thread(archiver.start)
            objects = Objects((tmp_path / "objects").as_uri())
            wanted, deadline = 4 * len(drives), time.monotonic() + 60
            while archived(objects, fleet.fleet_id, f"bt-{run}-") < wanted:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.3)
            request = {
                "objects_url": objects.url,
                "fleet_id": fleet.fleet_id,
                "signals": str(ROOT / "config" / "signals.yaml"),
                "vehicles": [f"bt-{run}-*"],
            }
            progress = ReplayProgress()
            found = [fired for fired in replay(request, {"": triggers}, progress) if fired is not None]
            ids = {fired.firing_id for fired in found}
            assert len(ids) == len(found)
            assert {fired.trigger for fired in found} == {trigger.name for trigger in triggers}
            assert progress.batches == wanted
            while True:
                live = {f.event_id: f for f in await read_all(kafka_bootstrap, "fleet.trigger.v1", set(drives))}
                if ids <= live.keys() or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.3)
            await asyncio.sleep(1)
            live = {f.event_id: f for f in await read_all(kafka_bootstrap, "fleet.trigger.v1", set(drives))}
            assert set(live) == ids
            for fired in found:
                sent = live[fired.firing_id]
                assert (sent.onset_utc_ns, sent.onset_monotonic_ns) == (fired.onset_utc_ns, fired.onset_monotonic_ns)
                assert tuple(sent.conditions) == fired.conditions
    await announce(publisher, f"bt-{run}", 2, False)

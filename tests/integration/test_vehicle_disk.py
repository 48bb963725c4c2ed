"""The real agent on a disk that is full or damaged, against the real gateway: it goes on, and says what was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.integration.telemetry_processes import ROOT, Fleet, fleet_of
from tests.integration.test_vehicle_agent import Agent, made_drive, telemetry_of
from tests.small_disk import small_disk

from fleetloop.kit.messaging.topics import create_topics, load_topics


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str) -> Iterator[Fleet]:
    asyncio.run(create_topics(kafka_bootstrap, load_topics(ROOT / "protos" / "topics.yaml")))
    with fleet_of(tmp_path_factory.mktemp("disk"), kafka_bootstrap, f"f{uuid4().hex[:8]}") as fleet:
        fleet.service("telemetry_gateway")
        yield fleet


def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until_recorded(agent: Agent, spool: Path) -> None:
    """Wait until the last batch of the drive is in the spool."""
    until((agent.control / "progress-000.json").exists)
    last = agent.progress()["drive_batches"]
    assert isinstance(last, int)
    until(lambda: bool(list(spool.glob(f"*-{last - 1}-*.msg"))))


async def test_a_full_disk_costs_the_oldest_batches_and_neither_the_agent_nor_the_newest(
    fleet: Fleet, tmp_path: Path
) -> None:
    gateway = fleet.service("telemetry_gateway", "full")
    drive = made_drive(tmp_path / "drive.mcap", 120)
    with small_disk(tmp_path / "disk", 128 * 1024) as disk:
        agent = Agent(
            fleet, tmp_path, "full-", drive,
            state_dir=str(disk), telemetry_gateway_address=gateway.address, max_unacknowledged="10000",
        )  # fmt: skip
        process = agent.start()
        try:
            until_recorded(agent, disk / agent.vehicle / "batches")
            assert process.poll() is None, agent.log.read_text()[-3000:]
            gateway.start()
            assert process.wait(60) == 0, agent.log.read_text()[-3000:]
        finally:
            process.kill()
            process.wait(10)
    found = agent.progress()
    total, dropped = found["drive_batches"], found["batches_dropped"]
    assert isinstance(total, int) and isinstance(dropped, int)
    assert 5 < dropped < total - 5
    assert (found["batches_stored"], found["batches_rejected"]) == (total - dropped, 0)
    arrived = sorted(batch.sequence for batch in (await telemetry_of(fleet, agent.vehicle)).values())
    assert arrived == list(range(dropped, total))
    gateway.stop()


async def test_damaged_files_in_the_spool_stop_none_of_the_others(fleet: Fleet, tmp_path: Path) -> None:
    gateway = fleet.service("telemetry_gateway", "damaged")
    drive = made_drive(tmp_path / "drive.mcap", 100)
    agent = Agent(
        fleet, tmp_path, "damaged-", drive, telemetry_gateway_address=gateway.address, max_unacknowledged="10000"
    )
    process = agent.start()
    spool = tmp_path / "vehicles" / agent.vehicle / "batches"
    try:
        until_recorded(agent, spool)
    finally:
        process.kill()
        process.wait(10)
    files = sorted(spool.glob("*.msg"))
    content = [path.read_bytes() for path in files]
    files[0].write_bytes(b"")
    files[3].write_bytes(content[3][: len(content[3]) // 2])
    files[7].write_bytes(b"garbage")
    files[8].write_bytes(content[9])
    files[11].unlink()
    files[11].mkdir()
    (spool / "no message.msg").write_bytes(b"x")
    gateway.start()
    agent.run()
    arrived = sorted(batch.sequence for batch in (await telemetry_of(fleet, agent.vehicle)).values())
    assert arrived == [number for number in range(len(files)) if number not in (0, 3, 7, 8, 11)]
    assert len(list((spool / "damaged").iterdir())) == 6
    assert list(spool.glob("*.msg")) == []
    gateway.stop()

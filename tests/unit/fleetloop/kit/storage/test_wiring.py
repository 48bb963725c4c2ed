"""What every service with a database has running: the relay and the pruning, until the process is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.process.lifecycle import Runtime
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.storage import wiring
from fleetloop.kit.storage.database import Database, InboxMixin, OutboxMixin, RequestMixin, Transaction
from fleetloop.kit.storage.wiring import INBOX_KEPT_S, Storage, start_storage_tasks
from fleetloop.kit.testing import ManualClock, RecordingPublisher

SETTINGS = ServiceSettings(kafka_bootstrap_servers="none:1")


class Base(DeclarativeBase):
    pass


class InboxRow(InboxMixin, Base):
    pass


class OutboxRow(OutboxMixin, Base):
    pass


class RequestRow(RequestMixin, Base):
    pass


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('keeping') / 'state.db'}", Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def event(name: str) -> Event:
    return Event("fleet.x.v1", "car", name, "fleet.x.v1.Thing", b"", 1)


async def test_what_was_decided_goes_out_and_what_is_old_goes_away(database: Database) -> None:
    clock, publisher, pruned = ManualClock(), RecordingPublisher(), []
    old_ns = clock.now_utc_ns() - round((INBOX_KEPT_S + 1) * 1e9)
    database.run_now(lambda tx: tx.first_time("old", old_ns))
    database.run_now(lambda tx: tx.first_time("young", clock.now_utc_ns()))

    def batch(tx: Transaction, now_utc_ns: int, limit: int) -> int:
        pruned.append(now_utc_ns)
        return 0

    runtime = Runtime("keeper-of-tests", SETTINGS)
    start_storage_tasks(runtime, SETTINGS, clock, Storage(database, publisher), {}, {"things": batch})  # type: ignore[arg-type]
    await database.run(lambda tx: tx.publish(event("one")))
    await until(lambda: [each.event_id for each in publisher.events] == ["one"])
    await until(lambda: bool(pruned))
    assert pruned == [clock.now_utc_ns()]
    assert database.read_now(lambda tx: list(tx.session.scalars(sa.select(InboxRow.event_id)))) == ["young"]
    runtime.stopping.set()
    assert not await runtime._stop(), "everything ends by itself, and nothing has failed"


async def test_what_is_in_the_outbox_when_the_process_is_told_to_stop_still_goes_out(database: Database) -> None:
    publisher = RecordingPublisher()
    runtime = Runtime("keeper-of-tests", SETTINGS)
    start_storage_tasks(runtime, SETTINGS, ManualClock(), Storage(database, publisher), {})  # type: ignore[arg-type]

    def publish(tx: Transaction) -> None:
        for number in range(3):
            tx.publish(event(f"e{number}"))

    database.run_now(publish)
    runtime.stopping.set()
    assert not await runtime._stop()
    assert [each.event_id for each in publisher.events] == ["e0", "e1", "e2"]


async def test_a_broker_that_is_gone_ends_the_process(database: Database) -> None:
    publisher = RecordingPublisher(broken=ConnectionError("gone"))
    runtime = Runtime("keeper-of-tests", SETTINGS)
    database.run_now(lambda tx: tx.publish(event("kept")))

    async def start(runtime: Runtime) -> None:
        start_storage_tasks(runtime, SETTINGS, ManualClock(), Storage(database, publisher), {})  # type: ignore[arg-type]

    assert await asyncio.wait_for(runtime.run(start), 10) == 70
    publisher.broken = None
    left = database.read_now(lambda tx: list(tx.session.scalars(sa.select(OutboxRow.event_id))))
    assert left == ["kept"], "the next process publishes it"


class FakeKafka:
    """A publisher without a broker that notes when it starts and stops."""

    order: ClassVar[list[str]] = []

    def __init__(self, service: str, settings: ServiceSettings) -> None:
        pass

    async def start(self) -> None:
        self.order.append("publisher starts")

    async def stop(self) -> None:
        self.order.append("publisher stops")


async def test_what_was_opened_last_closes_first_and_after_the_background_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stops first, so that no call meets a closed database; the database closes last."""
    order = FakeKafka.order = []
    monkeypatch.setattr(wiring, "KafkaPublisher", FakeKafka)
    close = Database.close

    def noting_close(self: Database) -> None:
        order.append("database closes")
        close(self)

    monkeypatch.setattr(Database, "close", noting_close)
    (tmp_path / "migrations").mkdir()
    settings = SETTINGS.model_copy(update={"state_dir": tmp_path})
    runtime = Runtime("keeper-of-tests", settings)

    async def stop_server() -> None:
        order.append("server stops")

    async def start(runtime: Runtime) -> None:
        storage = await wiring.open_storage(runtime, settings, Base, tmp_path / "migrations")

        async def work() -> None:
            await runtime.stopping.wait()
            await storage.database.run(lambda tx: None)  # it is still open
            order.append("work ends")

        runtime.spawn("work", work())
        runtime.on_stop(stop_server)
        runtime.stopping.set()

    assert await asyncio.wait_for(runtime.run(start), 20) == 0
    assert order == ["publisher starts", "work ends", "server stops", "publisher stops", "database closes"]

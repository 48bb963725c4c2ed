from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.storage.database import Database, InboxMixin, OutboxMixin, RequestMixin, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.outbox import OutboxRelay
from fleetloop.kit.testing import RecordingPublisher


class Base(DeclarativeBase):
    pass


class InboxRow(InboxMixin, Base):
    pass


class OutboxRow(OutboxMixin, Base):
    pass


class RequestRow(RequestMixin, Base):
    pass


class CountRow(Base):
    __tablename__ = "counts"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


def event(number: int) -> Event:
    return Event("fleet.x.v1", f"car-{number}", f"id-{number}", "fleet.x.v1.Thing", bytes([number]), 1_000 * number)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


async def test_an_event_takes_effect_once(database: Database) -> None:
    assert await database.run(lambda tx: tx.first_time("a", 1))
    assert not await database.run(lambda tx: tx.first_time("a", 2))


async def test_a_failure_leaves_nothing_behind(database: Database) -> None:
    def work(tx: Transaction) -> None:
        tx.first_time("a", 1)
        tx.publish(event(1))
        tx.session.add(CountRow(name="n", value=1))
        raise LookupError("half way")

    with pytest.raises(LookupError):
        await database.run(work)
    assert await database.run(lambda tx: tx.first_time("a", 1))
    assert await database.run(lambda tx: tx.session.scalar(sa.select(sa.func.count()).select_from(OutboxRow))) == 0
    assert await database.run(lambda tx: tx.session.get(CountRow, "n")) is None


async def test_old_ids_are_forgotten_and_young_ones_kept(database: Database) -> None:
    await database.run(lambda tx: tx.first_time("old", 10))
    await database.run(lambda tx: tx.first_time("young", 20))
    assert await database.run(lambda tx: tx.prune_ids(15, 100)) == 1
    assert await database.run(lambda tx: tx.first_time("old", 30))
    assert not await database.run(lambda tx: tx.first_time("young", 30))


async def test_a_request_is_carried_out_once_and_answered_alike(database: Database) -> None:
    calls: list[int] = []

    def work() -> bytes:
        calls.append(1)
        return b"answer"

    ask: Callable[[], object] = lambda: database.run(lambda tx: answer_once(tx, "r1", "M", 1, work))  # noqa: E731
    assert await ask() == b"answer"  # type: ignore[misc]
    assert await ask() == b"answer"  # type: ignore[misc]
    assert len(calls) == 1


async def test_the_same_id_serves_a_request_of_each_method(database: Database) -> None:
    for method in ("Submit", "Undo"):
        for _ in range(2):
            work = method.encode
            assert await database.run(lambda tx, m=method, w=work: answer_once(tx, "r1" * 100, m, 1, w)) == work()  # type: ignore[misc]


async def test_a_request_without_an_id_is_refused(database: Database) -> None:
    with pytest.raises(RefusedError, match="request_id"):
        await database.run(lambda tx: answer_once(tx, "", "M", 1, lambda: b""))


async def test_the_relay_publishes_in_order_and_deletes(database: Database) -> None:

    def three(tx: Transaction) -> None:
        for number in (1, 2, 3):
            tx.publish(event(number))

    await database.run(three)
    publisher = RecordingPublisher()
    relay = OutboxRelay("test", database, publisher)
    assert await relay.relay_once() == 3
    assert [e.event_id for e in publisher.events] == ["id-1", "id-2", "id-3"]
    assert publisher.events[1] == event(2)
    assert await relay.relay_once() == 0


async def test_what_kafka_did_not_take_stays_in_the_outbox(database: Database) -> None:
    await database.run(lambda tx: tx.publish(event(1)))
    publisher = RecordingPublisher(broken=ConnectionError("no broker"))
    relay = OutboxRelay("test", database, publisher)
    with pytest.raises(ConnectionError):
        await relay.relay_once()
    publisher.broken = None
    assert await relay.relay_once() == 1
    assert [e.event_id for e in publisher.events] == ["id-1"]


async def test_the_relay_wakes_up_for_a_new_row_and_drains_when_told_to_stop(database: Database) -> None:
    publisher, stopping = RecordingPublisher(), asyncio.Event()
    running = asyncio.create_task(OutboxRelay("test", database, publisher, poll_s=60).run(stopping))
    await asyncio.sleep(0.05)
    await database.run(lambda tx: tx.publish(event(1)))
    async with asyncio.timeout(5):
        while not publisher.events:
            await asyncio.sleep(0.01)
    stopping.set()
    await database.run(lambda tx: tx.publish(event(2)))
    await asyncio.wait_for(running, 5)
    assert [e.event_id for e in publisher.events] == ["id-1", "id-2"]


async def test_committed_rows_survive_the_process_that_wrote_them(database_url: str) -> None:
    first = Database(database_url, Base)
    Base.metadata.create_all(first.engine)
    await first.run(lambda tx: tx.first_time("a", 1))
    second = Database(database_url, Base)  # `first` is never closed: as after SIGKILL
    assert not await second.run(lambda tx: tx.first_time("a", 1))
    second.close()
    first.close()


async def test_a_read_waits_for_no_writer_and_sees_what_was_committed(database: Database) -> None:
    await database.run(lambda tx: tx.first_time("a", 1))
    begun, go_on = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> None:
        tx.first_time("b", 1)
        begun.set()
        assert go_on.wait(10)

    writing = asyncio.create_task(database.run(slowly))
    assert await asyncio.to_thread(begun.wait, 10)
    try:
        assert await asyncio.wait_for(database.read(inbox_ids), 5) == ["a"]
    finally:
        go_on.set()
        await writing
    assert await database.read(inbox_ids) == ["a", "b"]


def inbox_ids(tx: Transaction) -> list[str]:
    return sorted(tx.session.scalars(sa.select(InboxRow.event_id)))


async def test_a_read_sees_one_moment(database: Database) -> None:
    def twice(tx: Transaction) -> tuple[list[str], list[str]]:
        first = inbox_ids(tx)
        database.run_now(lambda writing: writing.first_time("meanwhile", 1))
        return first, inbox_ids(tx)

    assert await database.read(twice) == ([], [])
    assert await database.read(inbox_ids) == ["meanwhile"]


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read-?only"):
        await database.read(lambda tx: tx.first_time("a", 1))
    assert await database.read(inbox_ids) == []


async def test_writers_of_several_processes_take_turns(database: Database, database_url: str) -> None:
    """What a transaction read is still so when it writes, or counts would be lost."""
    databases = [database, Database(database_url, Base)]
    await database.run(lambda tx: tx.session.add(CountRow(name="n", value=0)))

    def one_more(tx: Transaction) -> None:
        row = tx.session.get_one(CountRow, "n")
        time.sleep(0.002)
        row.value += 1

    try:
        await asyncio.gather(*(each.run(one_more) for each in databases for _ in range(15)))
        assert await database.read(lambda tx: tx.session.get_one(CountRow, "n").value) == 30
    finally:
        databases[1].close()

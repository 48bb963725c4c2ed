"""One transaction per record, and one record that fails is one record, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.storage.database import (
    Database,
    DatabaseUnavailableError,
    InboxMixin,
    OutboxMixin,
    RequestMixin,
    Transaction,
)
from fleetloop.kit.storage.inbox import Inbox
from fleetloop.kit.testing import ManualClock


class Base(DeclarativeBase):
    pass


class InboxRow(InboxMixin, Base):
    pass


class OutboxRow(OutboxMixin, Base):
    pass


class RequestRow(RequestMixin, Base):
    pass


class Thing(Base):
    __tablename__ = "things"
    name: Mapped[str] = mapped_column(sa.String(8), primary_key=True)
    number: Mapped[int] = mapped_column(sa.BigInteger)


class DeadLetters:
    def __init__(self) -> None:
        self.received: list[tuple[int, int]] = []

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.received.append((record.offset, attempts))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def record(offset: int, value: bytes, headers: list[tuple[str, bytes | None]] | None = None) -> Record:
    mine: list[tuple[str, bytes | None]] = [("ce_id", f"event-{offset}".encode())]
    return Record("fleet.x.v1", 0, offset, b"car", value, mine if headers is None else headers, 0)


def on_thing(tx: Transaction, record: Record) -> None:
    name, _, number = record.value.decode().partition("=")
    if not number:
        raise UnreadableMessageError("no number")
    tx.session.execute(sa.insert(Thing).values(name=name, number=int(number)))


def inbox_on(database: Database, dead: DeadLetters) -> Inbox:
    return Inbox("test", database, dead, ManualClock(), {"fleet.x.v1": on_thing})


def names(database: Database) -> list[str]:
    return database.read_now(lambda tx: list(tx.session.scalars(sa.select(Thing.name).order_by(Thing.name))))


POISON = [
    record(1, b"no number"),
    record(2, b"\xff=1"),
    record(3, f"big={2**63}".encode()),
    record(4, f"small={-(2**63) - 1}".encode()),
    record(5, b"a=1"),  # a name that exists
    record(6, b"b=1", headers=[]),
    record(7, b"b=1", headers=[("ce_id", None)]),
    record(8, b"b=1", headers=[("ce_id", b"")]),
    record(9, b"b=1", headers=[("ce_id", b"x" * 65)]),
    record(10, b"b=1", headers=[("ce_id", b"a\0b")]),
    record(11, b"b=1", headers=[("ce_id", b"\xff\xfe")]),
]
ONLY_POSTGRES = [record(20, b"n\0l=1"), record(21, b"nine chars=1")]


async def test_what_cannot_be_processed_is_set_aside_and_the_rest_takes_effect(database: Database) -> None:
    dead = DeadLetters()
    poison = POISON if database.is_sqlite else POISON + ONLY_POSTGRES
    await inbox_on(database, dead).handle([record(0, b"a=1"), *poison, record(99, b"z=9")])
    assert names(database) == ["a", "z"]
    assert [offset for offset, _ in dead.received] == [each.offset for each in poison]
    attempts = dict(dead.received)
    assert attempts[1] == attempts[7] == 1, "what is unreadable is not tried again"
    assert attempts[2] == attempts[3] == attempts[5] == 2


async def test_what_was_set_aside_can_come_again(database: Database) -> None:
    """Its inbox id was rolled back with its effect, so that a retry after a fix is no repeat."""
    dead, fixed = DeadLetters(), False

    def effect(tx: Transaction, record: Record) -> None:
        if not fixed:
            raise KeyError("a bug")
        on_thing(tx, record)

    inbox = Inbox("test", database, dead, ManualClock(), {"fleet.x.v1": effect})
    await inbox.handle([record(0, b"a=1")])
    fixed = True
    await inbox.handle([record(0, b"a=1"), record(0, b"a=1")])
    assert names(database) == ["a"]
    assert dead.received == [(0, 2)]


async def test_a_database_that_fails_is_an_outage_and_sets_nothing_aside(database: Database) -> None:
    dead = DeadLetters()
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE things"))
    with pytest.raises(DatabaseUnavailableError, match="the database failed"):
        await inbox_on(database, dead).handle([record(0, b"a=1")])
    assert dead.received == []


async def test_a_lost_connection_is_an_outage(postgres: str) -> None:
    database, dead = Database(postgres, Base), DeadLetters()
    Base.metadata.create_all(database.engine)

    def effect(tx: Transaction, record: Record) -> None:
        ours = tx.session.scalar(sa.text("SELECT pg_backend_pid()"))
        admin = sa.create_engine(postgres)
        with admin.connect() as other:
            other.execute(sa.text(f"SELECT pg_terminate_backend({ours})"))
        admin.dispose()
        tx.session.execute(sa.text("SELECT 1"))

    inbox = Inbox("test", database, dead, ManualClock(), {"fleet.x.v1": effect})
    try:
        with pytest.raises(DatabaseUnavailableError):
            await inbox.handle([record(0, b"a=1")])
    finally:
        Base.metadata.drop_all(database.engine)
        database.close()
    assert dead.received == []


async def test_a_full_disk_is_an_outage(tmp_path: Path) -> None:
    database, dead = Database(f"sqlite:///{tmp_path / 'x.db'}", Base), DeadLetters()
    Base.metadata.create_all(database.engine)

    def effect(tx: Transaction, record: Record) -> None:
        pages = tx.session.scalar(sa.text("PRAGMA page_count"))
        tx.session.execute(sa.text(f"PRAGMA max_page_count={pages}"))
        for number in range(200):
            tx.session.execute(sa.insert(Thing).values(name=f"{number}", number=number))
            tx.session.execute(sa.text(f"CREATE TABLE t{number} (x)"))

    inbox = Inbox("test", database, dead, ManualClock(), {"fleet.x.v1": effect})
    with pytest.raises(DatabaseUnavailableError, match="full"):
        await inbox.handle([record(0, b"a=1")])
    await asyncio.to_thread(database.close)
    assert dead.received == []

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Database, InboxMixin, RequestMixin, Transaction
from fleetloop.kit.storage.pruning import BATCH_ROWS, prune_once, prune_rows
from fleetloop.kit.storage.wiring import INBOX_KEPT_S, prune_ids
from fleetloop.kit.testing import ManualClock


class Base(DeclarativeBase):
    pass


class InboxRow(InboxMixin, Base):
    pass


class RequestRow(RequestMixin, Base):
    pass


class ThingRow(Base):
    __tablename__ = "things"
    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def names(database: Database) -> list[str]:
    return database.read_now(lambda tx: sorted(tx.session.scalars(sa.select(ThingRow.name))))


async def test_old_rows_go_in_short_transactions_and_new_ones_stay(database: Database) -> None:
    rows = [{"name": f"old-{number}", "at_utc_ns": 1} for number in range(2 * BATCH_ROWS + 3)]
    rows.append({"name": "new", "at_utc_ns": 10})
    database.run_now(lambda tx: tx.session.execute(sa.insert(ThingRow), rows))
    sizes = []

    def batch(tx: Transaction, now_utc_ns: int, limit: int) -> int:
        sizes.append(prune_rows(tx, ThingRow.name, limit, ThingRow.at_utc_ns < 10))
        return sizes[-1]

    gone = await prune_once(asyncio.Event(), "test", database, ManualClock(), "things", batch)
    assert (gone, sizes) == (2 * BATCH_ROWS + 3, [BATCH_ROWS, BATCH_ROWS, 3])
    assert names(database) == ["new"]


async def test_a_process_that_stops_is_not_held_up(database: Database) -> None:
    stopping = asyncio.Event()
    calls = []

    def batch(tx: Transaction, now_utc_ns: int, limit: int) -> int:
        calls.append(limit)
        stopping.set()
        return limit

    await prune_once(stopping, "test", database, ManualClock(), "things", batch)
    assert calls == [BATCH_ROWS]


def test_ids_are_kept_as_long_as_a_repeat_may_come(database: Database) -> None:
    kept_ns = seconds_to_ns(INBOX_KEPT_S)
    database.run_now(lambda tx: tx.first_time("event", 1))
    database.run_now(lambda tx: tx.remember_response("request", "m", b"answer", 1))
    assert database.run_now(lambda tx: prune_ids(tx, 1 + kept_ns, 10)) == 0
    assert database.read_now(lambda tx: tx.response_of("request", "m")) == b"answer"
    assert database.run_now(lambda tx: prune_ids(tx, 2 + kept_ns, 10)) == 1
    assert database.run_now(lambda tx: tx.first_time("event", 2 + kept_ns))
    assert database.read_now(lambda tx: tx.response_of("request", "m")) is None


def test_every_topic_that_is_not_kept_for_ever_is_kept_shorter_than_ids() -> None:
    from fleetloop.kit.messaging.topics import load_topics
    from fleetloop.shipped import topic_catalogue

    retentions = [topic.retention_h for topic in load_topics(topic_catalogue()).values() if topic.retention_h > 0]
    assert retentions
    assert all(hours * 3600 < INBOX_KEPT_S for hours in retentions)

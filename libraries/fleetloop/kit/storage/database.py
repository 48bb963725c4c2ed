"""A service's database: one transaction holds the inbox id, the change and the outbox row.

SQLAlchemy is used synchronously on its own worker threads, so that a slow query never blocks the event loop. Writing
transactions run one after the other in all processes: SQLite has one writer, and on Postgres each takes the same
advisory lock, so that what a transaction read still holds when it writes. Reads wait for no writer: `read` sees one
consistent snapshot on connections that cannot write. SQLite runs in WAL mode with full synchronisation at commit:
what was committed survives SIGKILL and a power failure.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.outage import OutageError
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.tracing import current_traceparent

log = get_logger(__name__)
T = TypeVar("T")
_WRITERS_LOCK = 0x666C656574  # "fleet"
MIGRATION_ENVIRONMENT = Path(__file__).parent / "migration_environment"


class DatabaseUnavailableError(OutageError):
    """The connection, the server or the disk of the database failed. Nothing of the transaction took effect."""


class InboxMixin:
    """Ids of events that took effect. They are kept longer than the topics keep messages."""

    __tablename__ = "inbox"
    event_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    received_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class OutboxMixin:
    """Events that were decided and are not yet published, in the order in which they were decided."""

    __tablename__ = "outbox"
    row_id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    topic: Mapped[str] = mapped_column(sa.String(128))
    key: Mapped[str] = mapped_column(sa.String(256))
    event_id: Mapped[str] = mapped_column(sa.String(64))
    event_type: Mapped[str] = mapped_column(sa.String(128))
    payload: Mapped[bytes] = mapped_column(sa.LargeBinary)
    time_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))


class RequestMixin:
    """Answers to mutating RPCs: a retry gets the same answer and has no further effect."""

    __tablename__ = "requests"
    request_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    """Hash of the method and of the request id that the caller gave."""
    method: Mapped[str] = mapped_column(sa.String(128))
    response: Mapped[bytes] = mapped_column(sa.LargeBinary)
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class Transaction:
    """One transaction of a service: all of it takes effect, or none of it."""

    def __init__(self, session: Session, base: type[DeclarativeBase]) -> None:
        self.session = session
        self._tables = base.metadata.tables
        self.published = 0
        """Events that this transaction put into the outbox."""

    def first_time(self, event_id: str, now_utc_ns: int) -> bool:
        """Record an event in the inbox. False when it took effect before; the caller then changes nothing."""
        inbox = self._tables["inbox"]
        known = self.session.execute(sa.select(inbox.c.event_id).where(inbox.c.event_id == event_id)).first()
        if known is not None:
            return False
        self.session.execute(inbox.insert().values(event_id=event_id, received_at_utc_ns=now_utc_ns))
        return True

    def publish(self, event: Event) -> None:
        """Add an event to the outbox, in the current trace unless it names one."""
        self.published += 1
        self.session.execute(
            self._tables["outbox"]
            .insert()
            .values(
                topic=event.topic,
                key=event.key,
                event_id=event.event_id,
                event_type=event.event_type,
                payload=event.payload,
                time_utc_ns=event.time_utc_ns,
                traceparent=event.traceparent or current_traceparent(),
            )
        )

    def response_of(self, request_id: str, method: str) -> bytes | None:
        """The serialised answer that this request got earlier, or None."""
        requests = self._tables["requests"]
        row = self.session.execute(
            sa.select(requests.c.response).where(requests.c.request_id == _request_key(request_id, method))
        ).first()
        return None if row is None else bytes(row[0])

    def remember_response(self, request_id: str, method: str, response: bytes, now_utc_ns: int) -> None:
        """Store the answer of a mutating request, in the transaction that carries it out."""
        self.session.execute(
            self._tables["requests"]
            .insert()
            .values(
                request_id=_request_key(request_id, method), method=method, response=response, at_utc_ns=now_utc_ns
            )
        )

    def prune_ids(self, utc_ns: int, limit: int) -> int:
        """Prune at most `limit` inbox ids and as many request ids from before `utc_ns`; return the larger number."""
        deleted = 0
        for name, key, at in (
            ("inbox", "event_id", "received_at_utc_ns"),
            ("requests", "request_id", "at_utc_ns"),
        ):
            table = self._tables[name]
            old = self.session.scalars(sa.select(table.c[key]).where(table.c[at] < utc_ns).limit(limit)).all()
            if old:
                self.session.execute(sa.delete(table).where(table.c[key].in_(old)))
            deleted = max(deleted, len(old))
        return deleted


class Database:
    """A service's database. `run` and `read` call a function in one transaction, off the event loop.

    `read` calls what a service has in queries.py, `run` what it has in transactions.py.
    """

    def __init__(self, url: str, base: type[DeclarativeBase], readers: int = 3) -> None:
        """`readers` is the number of threads that read; one thread writes."""
        self._base = base
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            path = sa.make_url(url).database
            if path and path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"connect_args": {"timeout": 30}} if self.is_sqlite else {"pool_pre_ping": True}
        self.engine = sa.create_engine(url, **options)
        if self.is_sqlite:
            self._reading = sa.create_engine(url, **options)
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_immediately)
            sa.event.listen(self._reading, "connect", _configure_sqlite_for_reading)
            sa.event.listen(self._reading, "begin", _begin)
        else:
            self._reading = sa.create_engine(url, isolation_level="REPEATABLE READ", **options).execution_options(
                postgresql_readonly=True
            )
            sa.event.listen(self.engine, "begin", _lock_postgres)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._reading_sessions = sessionmaker(self._reading, expire_on_commit=False, autoflush=False)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="database-reader")
        self.outbox_filled = asyncio.Event()

    def migrate(self, versions: Path) -> None:
        """Upgrade the schema to the newest Alembic revision in the folder `versions`."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATION_ENVIRONMENT))
        config.set_main_option("version_locations", str(versions))
        config.set_main_option("path_separator", "os")
        config.attributes["engine"] = self.engine
        config.attributes["metadata"] = self._base.metadata
        command.upgrade(config, "head")

    def run_now(self, work: Callable[[Transaction], T]) -> T:
        """Like `run`, on the calling thread. For tests and benches."""
        return self._carry_out(work)[0]

    def read_now(self, work: Callable[[Transaction], T]) -> T:
        """Like `read`, on the calling thread."""
        with self._reading_sessions.begin() as session:
            return work(Transaction(session, self._base))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Call `work` on a consistent snapshot, without blocking writers.

        The connection is read-only: a changed row raises SQLAlchemy's DBAPIError.
        """
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._readers, context.run, self.read_now, work)

    def _carry_out(self, work: Callable[[Transaction], T]) -> tuple[T, bool]:
        try:
            with self._sessions.begin() as session:
                transaction = Transaction(session, self._base)
                result = work(transaction)
        except sa.exc.SQLAlchemyError as error:
            if is_database_outage(error):
                raise DatabaseUnavailableError(f"the database failed: {error}") from error
            raise
        return result, transaction.published > 0

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Call `work` in one transaction on a worker thread. An exception in it rolls the transaction back.

        Raises DatabaseUnavailableError when the database failed, and what `work` raises otherwise.
        """
        context = contextvars.copy_context()  # carries the current span to the thread
        result, published = await asyncio.get_running_loop().run_in_executor(
            self._writer, context.run, self._carry_out, work
        )
        if published:
            self.outbox_filled.set()
        return result

    def close(self) -> None:
        """Wait for running transactions and close the connections."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._reading.dispose()
        self.engine.dispose()


_POSTGRES_DATA_CLASSES = frozenset({"0A", "21", "22", "23", "44", "54"})
"""Classes of SQLSTATE that are about values: unsupported feature, cardinality, data, integrity, check option, and
limits of the program such as the size of an index row. The others are about connection, server, schema and rights."""
_SQLITE_DATA_CODES = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_TOOBIG}
)
"""Primary result codes of SQLite that are about values."""


def is_database_outage(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether connection, server, schema or disk failed, rather than a value that a statement carried."""
    if isinstance(error, sa.exc.TimeoutError):  # no free connection
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state)[:2] not in _POSTGRES_DATA_CLASSES
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF not in _SQLITE_DATA_CODES
    # Without a code: the driver itself refused a value (such as a NUL in a text), or lost the connection.
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def _request_key(request_id: str, method: str) -> str:
    """A key of fixed length, whatever callers send. It includes the method: one id may serve two requests."""
    return causal_id("request", method, request_id)


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below decides when a transaction starts
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()


def _configure_sqlite_for_reading(connection: Any, record: object) -> None:
    _configure_sqlite(connection, record)
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _lock_postgres(connection: sa.Connection) -> None:
    """Allow one writing transaction at a time, of all processes; the lock ends with the transaction."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")


def _begin_immediately(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")

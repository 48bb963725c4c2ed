"""The wiring that every service with a database shares: migrate, take events in once, publish the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase

from fleetloop.kit.messaging.consumer import ConsumerLoop
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.lifecycle import Runtime
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.inbox import Effect, Inbox
from fleetloop.kit.storage.outbox import OutboxRelay
from fleetloop.kit.storage.pruning import Batch, prune

INBOX_KEPT_S = 90 * 86_400.0
"""Longer than any topic that is read through an inbox keeps its messages. Of topics that are kept for ever (datasets,
runs, models) the effects themselves know what they have seen."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a composition root goes on with."""

    database: Database
    publisher: KafkaPublisher


async def open_keeping(
    runtime: Runtime, settings: ServiceSettings, base: type[DeclarativeBase], migrations: Path
) -> Keeping:
    """Opens and migrates the database and starts the publisher; both close when the process stops."""
    url = settings.database_url or f"sqlite:///{settings.state_dir / (runtime.service + '.db')}"
    database = Database(url, base)
    await asyncio.to_thread(database.migrate, migrations)
    publisher = KafkaPublisher(runtime.service, settings)
    await publisher.start()
    runtime.on_stop(lambda: asyncio.to_thread(database.close))
    runtime.on_stop(publisher.stop)
    return Keeping(database, publisher)


def spawn_keeping(
    runtime: Runtime,
    settings: ServiceSettings,
    clock: Clock,
    keeping: Keeping,
    effects: Mapping[str, Effect],
    prunings: Mapping[str, Batch] | None = None,
) -> None:
    """Starts the consumer, when there are topics to read, the relay, and the pruning of old ids and `prunings`."""
    if effects:
        inbox = Inbox(runtime.service, keeping.database, keeping.publisher, clock, effects)
        loop = ConsumerLoop(runtime.service, _topics(effects), inbox.handle, settings, clock)
        runtime.http.add_liveness("consumer", loop.problem)
        runtime.http.add_readiness("consumer", lambda: None if loop.ready.is_set() else "no partitions yet")
        runtime.spawn("consume", loop.run(runtime.stopping))
    relay = OutboxRelay(runtime.service, keeping.database, keeping.publisher)
    runtime.spawn("relay", relay.run(runtime.stopping))
    batches = {"inbox": forget_ids, **(prunings or {})}
    runtime.spawn("prune", prune(runtime.stopping, runtime.service, keeping.database, clock, batches))


def _topics(effects: Mapping[str, Effect]) -> Sequence[str]:
    return sorted(effects)


def forget_ids(tx: Transaction, now_utc_ns: int, limit: int) -> int:
    """Ids of events and requests that will not come again."""
    return tx.forget_before(now_utc_ns - seconds_to_ns(INBOX_KEPT_S), limit)

"""What every service with a database starts in the same way: migrations, consumer, outbox relay, and pruning."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase

from fleetloop.kit.messaging.consumer import ConsumerLoop
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.signatures import load_trust
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.lifecycle import Runtime
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.inbox import Effect, Inbox
from fleetloop.kit.storage.outbox import OutboxRelay
from fleetloop.kit.storage.pruning import Batch, prune

INBOX_KEPT_S = 90 * 86_400.0
"""Longer than any topic that is read through an inbox keeps its messages. For topics that are kept forever (datasets,
runs, models) the effects themselves recognise what they have seen."""


@dataclass(frozen=True, slots=True)
class Storage:
    """An open database and the publisher that its outbox is relayed to."""

    database: Database
    publisher: KafkaPublisher


async def open_storage(
    runtime: Runtime, settings: ServiceSettings, base: type[DeclarativeBase], migrations: Path
) -> Storage:
    """Open and migrate the database and start the publisher; both close when the process stops."""
    url = settings.database_url or f"sqlite:///{settings.state_dir / (runtime.service + '.db')}"
    database = Database(url, base)
    await asyncio.to_thread(database.migrate, migrations)
    publisher = KafkaPublisher(runtime.service, settings)
    await publisher.start()
    runtime.on_stop(lambda: asyncio.to_thread(database.close))
    runtime.on_stop(publisher.stop)
    return Storage(database, publisher)


def start_storage_tasks(
    runtime: Runtime,
    settings: ServiceSettings,
    clock: Clock,
    storage: Storage,
    effects: Mapping[str, Effect],
    prunings: Mapping[str, Batch] | None = None,
) -> None:
    """Spawn the consumer of the topics in `effects`, the outbox relay, and the hourly pruning.

    Args:
        effects: What each topic's events do; without any, no consumer is started.
        prunings: Batches that prune the service's own tables, by the name for the metric. The ids of events and
            requests are always pruned.
    """
    if effects:
        inbox = Inbox(runtime.service, storage.database, storage.publisher, clock, effects, load_trust(settings))
        loop = ConsumerLoop(runtime.service, _topics(effects), inbox.handle, settings, clock)
        runtime.http.add_liveness("consumer", loop.problem)
        runtime.http.add_readiness("consumer", lambda: None if loop.ready.is_set() else "no partitions yet")
        runtime.spawn("consume", loop.run(runtime.stopping))
    relay = OutboxRelay(runtime.service, storage.database, storage.publisher)
    runtime.spawn("relay", relay.run(runtime.stopping))
    batches = {"inbox": prune_ids, **(prunings or {})}
    runtime.spawn("prune", prune(runtime.stopping, runtime.service, storage.database, clock, batches))


def _topics(effects: Mapping[str, Effect]) -> Sequence[str]:
    return sorted(effects)


def prune_ids(tx: Transaction, now_utc_ns: int, limit: int) -> int:
    """Prune ids of events and requests that will not come again."""
    return tx.prune_ids(now_utc_ns - seconds_to_ns(INBOX_KEPT_S), limit)

"""Pruning: tables that would grow forever delete the rows that are no longer needed, a few at a time.

A batch is a short writing transaction, so that other transactions run between two batches. Each service decides what
a batch may delete: never a row by which a repeat from Kafka would still be recognised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.metrics import PRUNED_ROWS
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction

Batch = Callable[[Transaction, int, int], int]
"""(transaction, now in UTC nanoseconds, most rows to delete) -> rows deleted."""
BATCH_ROWS = 500
_EVERY_S = 3600.0
_PAUSE_S = 0.05


def prune_rows(tx: Transaction, key: InstrumentedAttribute[str], limit: int, *old: sa.ColumnElement[bool]) -> int:
    """Delete at most `limit` rows for which all conditions in `old` hold, by their `key`; return how many."""
    keys = tx.session.scalars(sa.select(key).where(*old).limit(limit)).all()
    if keys:
        tx.session.execute(sa.delete(key.class_).where(key.in_(keys)))
    return len(keys)


async def prune(
    stopping: asyncio.Event, service: str, database: Database, clock: Clock, batches: Mapping[str, Batch]
) -> None:
    """Prune every hour until `stopping`. Each of `batches`, named for the metric, runs until it finds no more."""
    while not stopping.is_set():
        for name, batch in batches.items():
            await prune_once(stopping, service, database, clock, name, batch)
        await pause(stopping, _EVERY_S)


async def prune_once(
    stopping: asyncio.Event, service: str, database: Database, clock: Clock, name: str, batch: Batch
) -> int:
    """Prune one kind of rows until none are left to prune; return how many were deleted."""
    deleted = 0
    while not stopping.is_set():
        count = await database.run(partial(_carry_out, batch=batch, now_utc_ns=clock.now_utc_ns()))
        PRUNED_ROWS.labels(service, name).inc(count)
        deleted += count
        if count < BATCH_ROWS:
            break
        await pause(stopping, _PAUSE_S)
    return deleted


def _carry_out(tx: Transaction, batch: Batch, now_utc_ns: int) -> int:
    return batch(tx, now_utc_ns, BATCH_ROWS)

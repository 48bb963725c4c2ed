"""Lets Kafka's client pass over messages that it cannot decode, such as one with a header whose name is not UTF-8.

The broker does not look into headers, so any producer can write such a message, and aiokafka then raises the same
error at every attempt to read past it: no consumer of the partition goes on. A batch is what one producer wrote at
once. When a message of it cannot be decoded, the rest of the batch is passed over, logged and counted; batches of
other producers are read as always.

aiokafka decides nowhere else what becomes of a batch, and has no hook, so `install` replaces the class with which its
fetcher takes fetched bytes apart. This holds for every consumer of the process, Faust's included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import UNDECODABLE

log = get_logger(__name__)


class _Batch:
    """A batch whose iteration ends where a message cannot be decoded."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        read = self._batch.base_offset - 1
        try:
            for record in self._batch:
                read = record.offset
                yield record
        except (ValueError, TypeError, OverflowError, IndexError) as error:  # UnicodeDecodeError is a ValueError
            passed_over = self._batch.next_offset - read - 1
            UNDECODABLE.inc(passed_over)
            log.error("undecodable", after_offset=read, passed_over=passed_over, error=repr(error)[:300])


class TolerantRecords:
    """Fetched bytes as batches, in place of aiokafka's own class."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> _Batch | None:
        batch = self._records.next_batch()
        return None if batch is None else _Batch(batch)


def install() -> None:
    """Makes every consumer of this process pass over what cannot be decoded."""
    fetcher.MemoryRecords = TolerantRecords

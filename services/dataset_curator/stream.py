"""The Kafka shell: agreed labels come in and wait for a commit."""

from __future__ import annotations

from collections.abc import Mapping

from dataset_curator import transactions
from dataset_curator.codec import labelled_in
from fleetloop.domain.topics import LABEL
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect


def effects(clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def on_label(tx: Transaction, record: Record) -> None:
        """A label task ended."""
        labelled = labelled_in(record)
        if labelled is not None:
            transactions.add_waiting(tx, labelled, clock.now_utc_ns())

    return {LABEL: on_label}

"""The Kafka shell: dataset versions and model changes come in."""

from __future__ import annotations

from collections.abc import Mapping

from fleetloop.domain.topics import DATASET, MODEL
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from training_orchestrator import transactions
from training_orchestrator.codec import model_change_in, version_in


def on_version(tx: Transaction, record: Record) -> None:
    """A dataset has a new version."""
    transactions.record_version(tx, version_in(record))


def on_model(tx: Transaction, record: Record) -> None:
    """A model changed its stage."""
    transactions.record_model_change(tx, model_change_in(record))


EFFECTS: Mapping[str, Effect] = {DATASET: on_version, MODEL: on_model}

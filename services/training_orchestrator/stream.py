"""The Kafka shell: dataset versions and model changes come in."""

from __future__ import annotations

from collections.abc import Mapping

from fleetloop.domain.messages import parse
from fleetloop.domain.topics import DATASET, MODEL
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from training_orchestrator import transactions


def take_version(tx: Transaction, record: Record) -> None:
    """A dataset was committed."""
    transactions.note_version(tx, parse(dataset_pb2.DatasetCommitted, record))


def take_model(tx: Transaction, record: Record) -> None:
    """A model changed its stage."""
    transactions.note_model(tx, parse(rollout_pb2.ModelChanged, record))


EFFECTS: Mapping[str, Effect] = {DATASET: take_version, MODEL: take_model}

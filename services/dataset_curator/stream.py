"""The Kafka shell: agreed labels come in and wait for a commit."""

from __future__ import annotations

from collections.abc import Mapping

from dataset_curator import transactions
from fleetloop.domain.messages import parse
from fleetloop.domain.topics import LABEL
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from fleetloop.protos.label.v1 import label_pb2


def effects(clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def take_label(tx: Transaction, record: Record) -> None:
        labelled = parse(label_pb2.SampleLabelled, record)
        if labelled.outcome != label_pb2.LABEL_OUTCOME_AGREED:
            return
        if not labelled.dataset or not labelled.provenance.sample_id or labelled.task not in labelled.answers:
            raise UnreadableMessageError("dataset, provenance.sample_id and answers[task] must be set in a label")
        transactions.keep_waiting(tx, labelled, clock.now_utc_ns())

    return {LABEL: take_label}

"""The Kafka shell: agreed labels come in and wait for a commit."""

from __future__ import annotations

from collections.abc import Mapping

from dataset_curator import transactions
from fleet.label.v1 import label_pb2
from fleetdomain.messages import parse
from fleetdomain.topics import LABEL
from fleetkit.clock import Clock
from fleetkit.database import Transaction
from fleetkit.inbox import Effect
from fleetkit.kafka import Record, UnreadableMessageError


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

"""The Kafka shell: new tasks come in; ended ones go out through the outbox."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.label.v1 import label_pb2
from fleetdomain.messages import parse
from fleetdomain.topics import LABEL_TASK
from fleetkit.database import Transaction
from fleetkit.inbox import Effect
from fleetkit.kafka import Record, UnreadableMessageError
from label_desk import transactions


def take_task(tx: Transaction, record: Record) -> None:
    """A task was made. Raises UnreadableMessageError when it lacks what the desk needs."""
    created = parse(label_pb2.LabelTaskCreated, record)
    for field in ("task_id", "task", "project", "clip_address"):
        if not getattr(created, field):
            raise UnreadableMessageError(f"{field}: is empty; a label task needs it")
    transactions.create_task(tx, created)


EFFECTS: Mapping[str, Effect] = {LABEL_TASK: take_task}

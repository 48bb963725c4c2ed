"""The Kafka shell: new tasks come in; ended ones go out through the outbox."""

from __future__ import annotations

from collections.abc import Mapping

from fleetloop.domain.messages import parse
from fleetloop.domain.topics import LABEL_TASK
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from fleetloop.protos.label.v1 import label_pb2
from label_desk import transactions


def take_task(tx: Transaction, record: Record) -> None:
    """A task was made. Raises UnreadableMessageError when it lacks what the desk needs."""
    created = parse(label_pb2.LabelTaskCreated, record)
    for field in ("task_id", "task", "project", "clip_address"):
        if not getattr(created, field):
            raise UnreadableMessageError(f"{field}: is empty; a label task needs it")
    transactions.create_task(tx, created)


EFFECTS: Mapping[str, Effect] = {LABEL_TASK: take_task}

"""The Kafka shell: new tasks come in. Ended tasks go out through the outbox."""

from __future__ import annotations

from collections.abc import Mapping

from fleetloop.domain.topics import LABEL_TASK
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from label_desk import transactions
from label_desk.codec import task_in


def on_task(tx: Transaction, record: Record) -> None:
    """A task was created. Raises UnreadableMessageError when it lacks what the desk needs."""
    transactions.create_task(tx, task_in(record))


EFFECTS: Mapping[str, Effect] = {LABEL_TASK: on_task}

"""Every change of a model's stage: a row with the next sequence, and an event for subscribers."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from fleetloop.kit.storage.database import Transaction
from rollout_controller.codec import change_bytes, change_of, model_event, passed_run_from
from rollout_controller.model import Stage
from rollout_controller.store import ChangeRow, ModelRow


def announce(
    tx: Transaction,
    model: ModelRow,
    stage: Stage,
    canary_percent: int,
    rollout_id: str,
    previous: str,
    reasons: Sequence[str],
    now_utc_ns: int,
) -> None:
    """Announce that a model is at a stage, with the next sequence of all changes."""
    sequence = (tx.session.scalar(sa.select(sa.func.max(ChangeRow.sequence))) or 0) + 1
    change = change_of(
        passed_run_from(model.run),
        number=model.number,
        stage=stage,
        canary_percent=canary_percent,
        rollout_id=rollout_id,
        previous=previous,
        reasons=reasons,
        sequence=sequence,
        now_utc_ns=now_utc_ns,
    )
    model.latest_sequence = sequence
    tx.session.add(ChangeRow(sequence=sequence, digest=model.digest, message=change_bytes(change)))
    tx.publish(model_event(change))

"""What the router reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from label_router.core import MOST_DOUBLINGS, wait_ns
from label_router.model import Firing, Known, Progress, RoutedFiring, Routing
from label_router.store import FiringRow, PrunedCountRow

_DAY_NS = seconds_to_ns(86_400)
_CLIPS_FOR_SIZE = 20
"""How many of a trigger's newest clips the usual size of its clips is the mean of."""


def known_before(tx: Transaction, firing: Firing, cell: str, routing: Routing) -> Known:
    """What a decision on a firing needs to know of earlier firings."""
    window_ns = seconds_to_ns(routing.cell_window_s)
    in_cell = sa.select(sa.func.count()).where(
        FiringRow.trigger == firing.trigger,
        FiringRow.model_digest == firing.model_digest,
        FiringRow.cell == cell,
        FiringRow.onset_utc_ns.between(firing.onset_utc_ns - window_ns, firing.onset_utc_ns + window_ns),
        FiringRow.progress != Progress.DROPPED.value,
    )
    count_in_cell = tx.session.scalar(in_cell) or 0
    if not firing.bytes_per_vehicle_day:
        return Known(in_cell=count_in_cell, vehicle_bytes_today=0)
    day_ns = firing.onset_utc_ns // _DAY_NS * _DAY_NS
    today = (
        FiringRow.vehicle_id == firing.vehicle_id,
        FiringRow.trigger == firing.trigger,
        FiringRow.onset_utc_ns.between(day_ns, day_ns + _DAY_NS - 1),
    )
    sent = sa.select(sa.func.coalesce(sa.func.sum(FiringRow.clip_bytes), 0)).where(*today)
    requested = sa.select(sa.func.count()).where(*today, FiringRow.progress == Progress.CLIP_WANTED.value)
    came = sa.select(FiringRow.clip_bytes).where(FiringRow.trigger == firing.trigger, FiringRow.clip_bytes > 0)
    newest = came.order_by(FiringRow.decided_at_utc_ns.desc()).limit(_CLIPS_FOR_SIZE).subquery()
    mean = tx.session.scalar(sa.select(sa.func.avg(newest.c.clip_bytes)))
    return Known(
        in_cell=count_in_cell,
        vehicle_bytes_today=tx.session.scalar(sent) or 0,
        clips_on_their_way=tx.session.scalar(requested) or 0,
        clip_bytes=round(mean or 0),
    )


def overdue_rows(tx: Transaction, routing: Routing, now_utc_ns: int, limit: int) -> Sequence[FiringRow]:
    """Rows of firings whose clip is to be requested again or given up, the one requested longest ago first."""
    overdue = sa.select(FiringRow).where(_is_overdue(routing, now_utc_ns))
    return tx.session.scalars(overdue.order_by(FiringRow.last_asked_utc_ns).limit(limit)).all()


def has_overdue_clips(tx: Transaction, routing: Routing, now_utc_ns: int) -> bool:
    """True when a clip is to be requested again or given up."""
    return bool(tx.session.scalar(sa.select(sa.exists().where(_is_overdue(routing, now_utc_ns)))))


def _is_overdue(routing: Routing, now_utc_ns: int) -> sa.ColumnElement[bool]:
    """One condition per number of attempts: the waits between them double, and SQL has no portable shift."""
    overdue = [FiringRow.expires_at_utc_ns <= now_utc_ns]
    for attempts in range(MOST_DOUBLINGS + 1):
        same_wait = FiringRow.attempts == attempts if attempts < MOST_DOUBLINGS else FiringRow.attempts >= attempts
        overdue.append(same_wait & (FiringRow.last_asked_utc_ns <= now_utc_ns - wait_ns(attempts, routing.repeat_s)))
    return (FiringRow.progress == Progress.CLIP_WANTED.value) & sa.or_(*overdue)


def waiting_clips(tx: Transaction) -> int:
    """Clips that were requested and have not come."""
    waiting = FiringRow.progress == Progress.CLIP_WANTED.value
    return tx.session.scalar(sa.select(sa.func.count()).select_from(FiringRow).where(waiting)) or 0


def firings(tx: Transaction, trigger: str, limit: int) -> list[RoutedFiring]:
    """Firings of one trigger or of all, the newest decision first."""
    query = sa.select(FiringRow).order_by(FiringRow.decided_at_utc_ns.desc()).limit(limit)
    if trigger:
        query = query.where(FiringRow.trigger == trigger)
    return [
        RoutedFiring(
            firing_id=row.firing_id,
            vehicle_id=row.vehicle_id,
            trigger=row.trigger,
            progress=Progress(row.progress),
            reason=row.reason,
            detail=row.detail,
            task_id=row.task_id,
            decided_at_utc_ns=row.decided_at_utc_ns,
        )
        for row in tx.session.scalars(query)
    ]


def count_firings(tx: Transaction) -> list[tuple[str, str, str, int]]:
    """(trigger, progress, reason, firings) of all firings that were ever read, the pruned ones too."""
    columns = (FiringRow.trigger, FiringRow.progress, FiringRow.reason)
    counts: Counter[tuple[str, str, str]] = Counter()
    for trigger, progress, reason, count in tx.session.execute(
        sa.select(*columns, sa.func.count()).group_by(*columns)
    ):
        counts[trigger, progress, reason] += count
    for pruned in tx.session.scalars(sa.select(PrunedCountRow)):
        counts[pruned.trigger, pruned.progress, pruned.reason] += pruned.firings
    return [(*key, count) for key, count in sorted(counts.items())]

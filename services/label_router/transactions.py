"""What the router does in one transaction each."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.metrics import STAGE_SECONDS
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.pruning import prune_rows
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from label_router.codec import firing_of, label_task, send_clip
from label_router.core import MOST_DOUBLINGS, ask_again, cell_of, triage, wait_ns
from label_router.metrics import DECISIONS, WAITING_CLIPS
from label_router.model import Drop, Dropped, Firing, Known, Progress, Routing, Wanted
from label_router.store import EarlyClipRow, FiringRow, ForgottenCountRow

SERVICE = "label-router"
_DAY_NS = seconds_to_ns(86_400)
_WEIGHED = 20
"""Newest clips of a trigger that say what the next one will weigh."""


def take_firing(tx: Transaction, fired: trigger_pb2.TriggerFired, routing: Routing, now_utc_ns: int) -> FiringRow:
    """Triage: the firing is dropped with a reason, or its vehicle is asked for the clip."""
    firing = firing_of(fired)
    cell = cell_of(firing, routing.cell_m)
    decision = triage(firing, routing, _known(tx, firing, cell, routing))
    row = FiringRow(
        firing_id=firing.firing_id,
        vehicle_id=firing.vehicle_id,
        trigger=firing.trigger,
        model_digest=firing.model_digest,
        cell=cell,
        onset_utc_ns=firing.onset_utc_ns,
        progress=Progress.CLIP_WANTED.value,
        reason="",
        detail="",
        project="",
        task="",
        task_id="",
        clip_bytes=0,
        message=fired.SerializeToString(),
        traceparent=current_traceparent(),
        decided_at_utc_ns=now_utc_ns,
        attempts=0,
        last_asked_utc_ns=now_utc_ns,
        expires_at_utc_ns=now_utc_ns + seconds_to_ns(routing.clip_expires_s),
    )
    tx.session.add(row)
    if isinstance(decision, Dropped):
        _drop(row, decision, now_utc_ns)
        return row
    row.project, row.task = decision.route.project, decision.task
    early = tx.session.get(EarlyClipRow, firing.firing_id)
    if early is not None:
        tx.session.delete(early)
        stored = clip_pb2.ClipStored.FromString(early.message)
        if stored.provenance.vehicle_id == row.vehicle_id:
            _route(tx, row, decision, stored, routing, now_utc_ns)
            return row
    tx.publish(send_clip(fired, 0, row.expires_at_utc_ns, now_utc_ns))
    DECISIONS.labels(row.trigger, row.progress, "").inc()
    return row


def _known(tx: Transaction, firing: Firing, cell: str, routing: Routing) -> Known:
    window_ns = seconds_to_ns(routing.cell_window_s)
    in_cell = sa.select(sa.func.count()).where(
        FiringRow.trigger == firing.trigger,
        FiringRow.model_digest == firing.model_digest,
        FiringRow.cell == cell,
        FiringRow.onset_utc_ns.between(firing.onset_utc_ns - window_ns, firing.onset_utc_ns + window_ns),
        FiringRow.progress != Progress.DROPPED.value,
    )
    day_ns = firing.onset_utc_ns // _DAY_NS * _DAY_NS
    sent = sa.select(sa.func.coalesce(sa.func.sum(FiringRow.clip_bytes), 0)).where(
        FiringRow.vehicle_id == firing.vehicle_id,
        FiringRow.trigger == firing.trigger,
        FiringRow.onset_utc_ns.between(day_ns, day_ns + _DAY_NS - 1),
    )
    in_all = tx.session.scalar(in_cell) or 0
    if not firing.bytes_per_vehicle_day:
        return Known(in_cell=in_all, vehicle_bytes_today=0)
    asked = sa.select(sa.func.count()).where(
        FiringRow.vehicle_id == firing.vehicle_id,
        FiringRow.trigger == firing.trigger,
        FiringRow.onset_utc_ns.between(day_ns, day_ns + _DAY_NS - 1),
        FiringRow.progress == Progress.CLIP_WANTED.value,
    )
    came = sa.select(FiringRow.clip_bytes).where(FiringRow.trigger == firing.trigger, FiringRow.clip_bytes > 0)
    newest = came.order_by(FiringRow.decided_at_utc_ns.desc()).limit(_WEIGHED).subquery()
    weight = tx.session.scalar(sa.select(sa.func.avg(newest.c.clip_bytes)))
    return Known(
        in_cell=in_all,
        vehicle_bytes_today=tx.session.scalar(sent) or 0,
        clips_on_their_way=tx.session.scalar(asked) or 0,
        clip_bytes=round(weight or 0),
    )


def _drop(row: FiringRow, dropped: Dropped, now_utc_ns: int) -> None:
    row.progress, row.reason, row.detail = Progress.DROPPED.value, dropped.reason.value, dropped.detail
    row.decided_at_utc_ns = now_utc_ns
    DECISIONS.labels(row.trigger, row.progress, row.reason).inc()


def take_clip(tx: Transaction, stored: clip_pb2.ClipStored, routing: Routing, now_utc_ns: int) -> str:
    """The clip of a firing has come: it becomes a question. Returns what was done, for the log.

    A vehicle speaks only for itself: a clip that it sends for another one's firing is passed over.
    """
    firing_id = stored.provenance.firing_id
    if not firing_id:
        return "unasked"
    row = tx.session.get(FiringRow, firing_id)
    if row is None:
        tx.session.merge(EarlyClipRow(firing_id=firing_id, message=stored.SerializeToString(), at_utc_ns=now_utc_ns))
        return "early"
    if stored.provenance.vehicle_id != row.vehicle_id:
        return "foreign"
    late_but_welcome = row.progress == Progress.DROPPED.value and row.reason == Drop.CLIP_EXPIRED.value
    if row.progress != Progress.CLIP_WANTED.value and not late_but_welcome:
        return "known"
    route = next((route for route in routing.routes if route.project == row.project), None)
    if route is None:
        _drop(row, Dropped(Drop.NO_ROUTE, f"the project {row.project} is gone from config/routing.yaml"), now_utc_ns)
        return "no_route"
    _route(tx, row, Wanted(route, row.task), stored, routing, now_utc_ns)
    return "routed"


def _route(
    tx: Transaction, row: FiringRow, wanted: Wanted, stored: clip_pb2.ClipStored, routing: Routing, now_utc_ns: int
) -> None:
    fired = trigger_pb2.TriggerFired.FromString(row.message)
    task_id, event = label_task(fired, stored, wanted.route, wanted.task, routing.task_schema_version, now_utc_ns)
    row.progress, row.task_id, row.reason, row.detail = Progress.ROUTED.value, task_id, "", ""
    row.clip_bytes, row.decided_at_utc_ns = stored.size_bytes, now_utc_ns
    with span(f"{SERVICE} routed", parent=row.traceparent, attributes={"project": wanted.route.project}):
        tx.publish(event)
    DECISIONS.labels(row.trigger, row.progress, "").inc()
    STAGE_SECONDS.labels(SERVICE, "clip").observe(ns_to_seconds(max(0, now_utc_ns - fired.detected_at_utc_ns)))


def forget_firings(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float, routing: Routing) -> int:
    """Lets go of at most `limit` firings that were decided longer than `keep_s` ago, and counts them.

    Never of one that still stands for its place, or whose clip may come: those are looked up.
    """
    keep_ns = seconds_to_ns(max(keep_s, routing.cell_window_s + routing.clip_expires_s))
    now_onset = sa.or_(FiringRow.onset_utc_ns < now_utc_ns - keep_ns, FiringRow.progress == Progress.DROPPED.value)
    rows = tx.session.execute(
        sa.select(FiringRow.firing_id, FiringRow.trigger, FiringRow.progress, FiringRow.reason)
        .where(
            FiringRow.decided_at_utc_ns < now_utc_ns - keep_ns,
            FiringRow.progress != Progress.CLIP_WANTED.value,
            now_onset,
        )
        .limit(limit)
    ).all()
    for (trigger, progress, reason), count in Counter(row[1:] for row in rows).items():
        counted = tx.session.get(ForgottenCountRow, (trigger, progress, reason))
        if counted is None:
            tx.session.add(ForgottenCountRow(trigger=trigger, progress=progress, reason=reason, firings=count))
        else:
            counted.firings += count
    if rows:
        tx.session.execute(sa.delete(FiringRow).where(FiringRow.firing_id.in_([row[0] for row in rows])))
    return len(rows)


def forget_early_clips(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Lets go of clips whose firing never came."""
    return prune_rows(tx, EarlyClipRow.firing_id, limit, EarlyClipRow.at_utc_ns < now_utc_ns - seconds_to_ns(keep_s))


def count_firings(tx: Transaction) -> list[tuple[str, str, str, int]]:
    """(trigger, progress, reason, firings) of all firings there ever were."""
    columns = (FiringRow.trigger, FiringRow.progress, FiringRow.reason)
    counts: Counter[tuple[str, str, str]] = Counter()
    for trigger, progress, reason, count in tx.session.execute(
        sa.select(*columns, sa.func.count()).group_by(*columns)
    ):
        counts[trigger, progress, reason] += count
    for gone in tx.session.scalars(sa.select(ForgottenCountRow)):
        counts[gone.trigger, gone.progress, gone.reason] += gone.firings
    return [(*key, count) for key, count in sorted(counts.items())]


def _due(routing: Routing, now_utc_ns: int) -> sa.ColumnElement[bool]:
    due = [FiringRow.expires_at_utc_ns <= now_utc_ns]
    for attempts in range(MOST_DOUBLINGS + 1):
        so_many = FiringRow.attempts == attempts if attempts < MOST_DOUBLINGS else FiringRow.attempts >= attempts
        due.append(so_many & (FiringRow.last_asked_utc_ns <= now_utc_ns - wait_ns(attempts, routing.repeat_s)))
    return (FiringRow.progress == Progress.CLIP_WANTED.value) & sa.or_(*due)


def has_to_chase(tx: Transaction, routing: Routing, now_utc_ns: int) -> bool:
    """True when a clip is to be asked for again or given up. Sets the gauge of those that are waited for."""
    wanted = FiringRow.progress == Progress.CLIP_WANTED.value
    WAITING_CLIPS.set(tx.session.scalar(sa.select(sa.func.count()).select_from(FiringRow).where(wanted)) or 0)
    return bool(tx.session.scalar(sa.select(sa.exists().where(_due(routing, now_utc_ns)))))


def chase_clips(tx: Transaction, routing: Routing, now_utc_ns: int, limit: int = 500) -> tuple[int, int]:
    """Asks again for clips that have not come and gives up those that expired; returns how many of each.

    At most `limit` a call, the longest unasked first, and only those with which something is to be done: clips that
    are asked for seldom would otherwise stand in front of those that are due.
    """
    waiting = tx.session.scalars(
        sa.select(FiringRow).where(_due(routing, now_utc_ns)).order_by(FiringRow.last_asked_utc_ns).limit(limit)
    ).all()
    asked = given_up = 0
    for row in waiting:
        if now_utc_ns >= row.expires_at_utc_ns:
            detail = f"asked {row.attempts + 1} times; the vehicle never sent it"
            _drop(row, Dropped(Drop.CLIP_EXPIRED, detail), now_utc_ns)
            given_up += 1
        elif ask_again(row.attempts, row.last_asked_utc_ns, row.expires_at_utc_ns, routing.repeat_s, now_utc_ns):
            row.attempts += 1
            row.last_asked_utc_ns = now_utc_ns
            fired = trigger_pb2.TriggerFired.FromString(row.message)
            with span(f"{SERVICE} asks again", parent=row.traceparent):
                tx.publish(send_clip(fired, row.attempts, row.expires_at_utc_ns, now_utc_ns))
            asked += 1
    return asked, given_up

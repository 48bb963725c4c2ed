"""What the router writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.process.metrics import LoopStage, observe_stage
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.pruning import prune_rows
from label_router import queries
from label_router.codec import clip_from, firing_from, label_task, send_clip
from label_router.core import ask_again, cell_of, triage
from label_router.metrics import DECISIONS
from label_router.model import Clip, Drop, Dropped, Firing, Progress, Routing, Wanted
from label_router.store import EarlyClipRow, FiringRow, PrunedCountRow

SERVICE = "label-router"


def record_firing(tx: Transaction, firing: Firing, routing: Routing, now_utc_ns: int) -> FiringRow:
    """Triage a firing: it is dropped with a reason, or its clip is requested from its vehicle.

    A firing that is known changes nothing, whatever the id of the event that repeats it.
    """
    known = tx.session.get(FiringRow, firing.firing_id)
    if known is not None:
        return known
    cell = cell_of(firing, routing.cell_m)
    decision = triage(firing, routing, queries.known_before(tx, firing, cell, routing))
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
        message=firing.event,
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
        clip = clip_from(early.message)
        if clip.vehicle_id == row.vehicle_id:
            _route(tx, row, decision, clip, routing, now_utc_ns)
            return row
    tx.publish(send_clip(firing, 0, row.expires_at_utc_ns, now_utc_ns))
    DECISIONS.labels(row.trigger, row.progress, "").inc()
    return row


def _drop(row: FiringRow, dropped: Dropped, now_utc_ns: int) -> None:
    row.progress, row.reason, row.detail = Progress.DROPPED.value, dropped.reason.value, dropped.detail
    row.decided_at_utc_ns = now_utc_ns
    DECISIONS.labels(row.trigger, row.progress, row.reason).inc()


def record_clip(tx: Transaction, clip: Clip, routing: Routing, now_utc_ns: int) -> str:
    """Turn the clip of a firing into a label task; return what was done with it, in one word.

    A vehicle speaks only for itself: a clip that it sends for another vehicle's firing is ignored. A clip that is
    read before its firing is kept until the firing is read.
    """
    if not clip.firing_id:
        return "unasked"
    row = tx.session.get(FiringRow, clip.firing_id)
    if row is None:
        tx.session.merge(EarlyClipRow(firing_id=clip.firing_id, message=clip.event, at_utc_ns=now_utc_ns))
        return "early"
    if clip.vehicle_id != row.vehicle_id:
        return "foreign"
    expired = row.progress == Progress.DROPPED.value and row.reason == Drop.CLIP_EXPIRED.value
    if row.progress != Progress.CLIP_WANTED.value and not expired:
        return "known"
    route = next((route for route in routing.routes if route.project == row.project), None)
    if route is None:
        _drop(row, Dropped(Drop.NO_ROUTE, f"config/routing.yaml no longer has the project {row.project}"), now_utc_ns)
        return "no_route"
    _route(tx, row, Wanted(route, row.task), clip, routing, now_utc_ns)
    return "routed"


def _route(tx: Transaction, row: FiringRow, wanted: Wanted, clip: Clip, routing: Routing, now_utc_ns: int) -> None:
    firing = firing_from(row.message)
    task_id, event = label_task(firing, clip, wanted.route, wanted.task, routing.task_schema_version, now_utc_ns)
    row.progress, row.task_id, row.reason, row.detail = Progress.ROUTED.value, task_id, "", ""
    row.clip_bytes, row.decided_at_utc_ns = clip.size_bytes, now_utc_ns
    with span(f"{SERVICE} routed", parent=row.traceparent, attributes={"project": wanted.route.project}):
        tx.publish(event)
    DECISIONS.labels(row.trigger, row.progress, "").inc()
    observe_stage(SERVICE, LoopStage.CLIP, firing.detected_at_utc_ns, now_utc_ns)


def prune_firings(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float, routing: Routing) -> int:
    """Delete at most `limit` firings decided more than `keep_s` seconds ago, and count them; return how many.

    Firings that still count for their cell, or whose clip may still come, stay: triage looks them up.
    """
    keep_ns = seconds_to_ns(max(keep_s, routing.cell_window_s + routing.clip_expires_s))
    no_longer_counts = sa.or_(
        FiringRow.onset_utc_ns < now_utc_ns - keep_ns, FiringRow.progress == Progress.DROPPED.value
    )
    rows = tx.session.execute(
        sa.select(FiringRow.firing_id, FiringRow.trigger, FiringRow.progress, FiringRow.reason)
        .where(
            FiringRow.decided_at_utc_ns < now_utc_ns - keep_ns,
            FiringRow.progress != Progress.CLIP_WANTED.value,
            no_longer_counts,
        )
        .limit(limit)
    ).all()
    for (trigger, progress, reason), count in Counter(row[1:] for row in rows).items():
        counted = tx.session.get(PrunedCountRow, (trigger, progress, reason))
        if counted is None:
            tx.session.add(PrunedCountRow(trigger=trigger, progress=progress, reason=reason, firings=count))
        else:
            counted.firings += count
    if rows:
        tx.session.execute(sa.delete(FiringRow).where(FiringRow.firing_id.in_([row[0] for row in rows])))
    return len(rows)


def prune_early_clips(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Delete at most `limit` clips whose firing did not come within `keep_s` seconds; return how many."""
    return prune_rows(tx, EarlyClipRow.firing_id, limit, EarlyClipRow.at_utc_ns < now_utc_ns - seconds_to_ns(keep_s))


def follow_up_clips(tx: Transaction, routing: Routing, now_utc_ns: int, limit: int = 500) -> tuple[int, int]:
    """Request clips again that have not come, and give up those that expired; return how many of each.

    At most `limit` per call, and only overdue ones: clips whose waits are long by now would otherwise take the places
    of those that are due.
    """
    asked = given_up = 0
    for row in queries.overdue_rows(tx, routing, now_utc_ns, limit):
        if now_utc_ns >= row.expires_at_utc_ns:
            detail = f"requested {row.attempts + 1} times; the vehicle never sent it"
            _drop(row, Dropped(Drop.CLIP_EXPIRED, detail), now_utc_ns)
            given_up += 1
        elif ask_again(row.attempts, row.last_asked_utc_ns, row.expires_at_utc_ns, routing.repeat_s, now_utc_ns):
            row.attempts += 1
            row.last_asked_utc_ns = now_utc_ns
            with span(f"{SERVICE} asks again", parent=row.traceparent):
                tx.publish(send_clip(firing_from(row.message), row.attempts, row.expires_at_utc_ns, now_utc_ns))
            asked += 1
    return asked, given_up

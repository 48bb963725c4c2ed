"""What the controller writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.codec import (
    change_bytes,
    change_from,
    change_of,
    model_event,
    passed_run_from,
)
from rollout_controller.core import (
    cannot_deliver,
    forecast_of,
    forecast_text,
    is_late,
    must_sign_again,
)
from rollout_controller.metrics import LAST_VEHICLE_SECONDS
from rollout_controller.model import (
    ListedFile,
    Move,
    PassedRun,
    Position,
    Publication,
    Report,
    Rollout,
    RolloutPlan,
    Stage,
)
from rollout_controller.store import ChangeRow, ModelRow, PublicationRow, RolloutRow, VehicleRow
from rollout_controller.transactions.assignments import reassign, record_contact
from rollout_controller.transactions.evidence import forget_evidence, record_evidence
from rollout_controller.transactions.lead_times import end_rollout, end_training

_PUBLICATIONS_KEPT_NS = seconds_to_ns(30 * 86_400)
log = get_logger(__name__)


def register(tx: Transaction, run: PassedRun, now_utc_ns: int) -> bool:
    """Store and announce a model that passed its examination; False when it is known."""
    if tx.session.get(ModelRow, run.model_digest) is not None:
        return False
    number = (tx.session.scalar(sa.select(sa.func.max(ModelRow.number))) or 0) + 1
    row = ModelRow(
        digest=run.model_digest,
        number=number,
        stage=Stage.REGISTERED.value,
        run=run.event,
        files="[]",
        published=False,
        traceparent=current_traceparent(),
        latest_sequence=0,
    )
    tx.session.add(row)
    tx.session.flush()
    _announce(tx, row, Stage.REGISTERED, 0, "", "", run.reasons, now_utc_ns)
    end_training(tx, run)
    return True


def begin_publication(tx: Transaction, now_utc_ns: int) -> Publication | None:
    """The publication to carry out: the one that was begun and is not done, or a new one; None when none is due."""
    last = queries.last_publication(tx)
    if last is not None and not last.done:
        cosignature = (last.cosigner, last.cosignature) if last.cosigner else None
        return Publication(last.number, last.signed_at_utc_ns, json.loads(last.digests), cosignature)
    known = tx.session.scalars(sa.select(ModelRow).order_by(ModelRow.number)).all()
    rows = [row for row in known if row.published or row.stage != Stage.ROLLED_BACK.value]
    is_stale = last is not None and must_sign_again(last.signed_at_utc_ns, now_utc_ns)
    if all(row.published for row in rows) and not is_stale:
        return None
    publication = Publication(last.number + 1 if last else 1, now_utc_ns, [row.digest for row in rows], None)
    tx.session.add(
        PublicationRow(
            number=publication.number,
            signed_at_utc_ns=publication.signed_at_utc_ns,
            digests=json.dumps(publication.digests),
            cosigner="",
            cosignature=b"",
            done=False,
        )
    )
    return publication


def store_cosignature(tx: Transaction, number: int, cosignature: tuple[str, bytes]) -> None:
    """Keep the orchestrator's signature, so that a redo does not ask for it again."""
    row = tx.session.get_one(PublicationRow, number)
    row.cosigner, row.cosignature = cosignature


def finish_publication(tx: Transaction, number: int, files: Sequence[ListedFile]) -> None:
    """The publication is done: its models are listed, with their files."""
    publication = tx.session.get_one(PublicationRow, number)
    publication.done = True
    for digest in json.loads(publication.digests):
        row = tx.session.get_one(ModelRow, digest)
        row.published = True
        own = [file for file in files if file.path.startswith(f"models/{digest}/")]
        row.files = json.dumps([[file.path, file.size_bytes, file.sha256] for file in own])


def refuse(tx: Transaction, publication: int, digests: Sequence[str], reason: str, now_utc_ns: int) -> list[str]:
    """Roll back those of the models that are not listed yet, and delete the publication that was to list them.

    Returns the digests of the models that were rolled back.
    """
    refused = []
    for digest in digests:
        row = tx.session.get_one(ModelRow, digest)
        if row.published or row.stage == Stage.ROLLED_BACK.value:
            continue
        row.stage = Stage.ROLLED_BACK.value
        refused.append(digest)
        reasons = [f"refused before it reached a vehicle: {reason}"]
        _announce(tx, row, Stage.ROLLED_BACK, 0, "", "", reasons, now_utc_ns)
    tx.session.delete(tx.session.get_one(PublicationRow, publication))
    return refused


def begin_next(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> Rollout | None:
    """Begin the rollout of the newest published candidate when none is open; older candidates are passed over.

    The fleet's first model is released at once: there is no model to compare it with.
    """
    candidate = queries.next_candidate(tx)
    if candidate is None:
        return None
    previous = queries.released(tx)
    row = tx.session.get(RolloutRow, causal_id("rollout", candidate.digest))
    if row is None:
        row = RolloutRow(
            rollout_id=causal_id("rollout", candidate.digest),
            digest=candidate.digest,
            previous=previous,
            stage=Stage.REGISTERED.value,
            canary_percent=0,
            began_at_utc_ns=now_utc_ns,
            stage_began_at_utc_ns=now_utc_ns,
            reasons="[]",
            last_attested_at_utc_ns=0,
            open=True,
            running_s=0.0,
            reports=0,
            tries=1,
            barred="[]",
        )
        tx.session.add(row)
    tx.session.flush()
    carry_out(tx, row, _first_move(tx, previous, plan, now_utc_ns), fleet_id, plan, now_utc_ns)
    return queries.rollout_of(row)


def _first_move(tx: Transaction, previous: str, plan: RolloutPlan, now_utc_ns: int) -> Move:
    if not previous:
        return Move(Stage.RELEASED, 100, ("the first model: there is none to compare it with",))
    forecast = forecast_of(queries.driven(tx, previous, now_utc_ns), plan)
    text = forecast_text(forecast, plan)
    if cannot_deliver(forecast, plan):
        return Move(
            Stage.WITHDRAWN,
            0,
            (
                f"the plan cannot be carried out: {text}, later than stage_max_s with all extensions",
                "raise canary_percents, worse_ratio or stage_max_s in config/rollout.yaml, and try it again",
            ),
        )
    return Move(Stage.SHADOWING, 0, (f"runs in shadow on {plan.shadow_percent} % of the vehicles", text))


def retry(
    tx: Transaction,
    rollout_id: str,
    by: str,
    fleet_id: str,
    plan: RolloutPlan,
    now_utc_ns: int,
    without: Collection[str] = (),
) -> Rollout:
    """Begin a rollout again that was withdrawn or rolled back, without the evidence of its earlier tries.

    `without` are vehicles whose reports are no evidence in it any more.

    Raises NotFoundError, and FailedPreconditionError when another rollout is open or this one did not end like that.
    """
    row = tx.session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFoundError("no such rollout", "rollout_id", "ListRollouts has them all")
    if row.stage not in (Stage.WITHDRAWN.value, Stage.ROLLED_BACK.value):
        raise FailedPreconditionError("its candidate was neither withdrawn nor rolled back", "rollout_id")
    if queries.open_row(tx) is not None:
        raise FailedPreconditionError("another rollout is open", "rollout_id", "wait until it ends, or roll it back")
    model = tx.session.get_one(ModelRow, row.digest)
    if not model.published:
        raise FailedPreconditionError(
            "its model was refused before it reached a vehicle", "rollout_id", "train it again"
        )
    forget_evidence(tx, rollout_id)
    row.barred = json.dumps(sorted({*json.loads(row.barred), *without}))
    row.previous, row.tries = queries.released(tx), row.tries + 1
    row.began_at_utc_ns, row.last_attested_at_utc_ns, row.reports, row.approved_by = now_utc_ns, 0, 0, ""
    move = Move(
        Stage.SHADOWING, 0, (f"tried again by {by}: runs in shadow on {plan.shadow_percent} % of the vehicles",)
    )
    carry_out(tx, row, move, fleet_id, plan, now_utc_ns)
    log.info("rollout_tried_again", rollout_id=rollout_id, by=by, tries=row.tries)
    return queries.rollout_of(row)


def move_rollout(
    tx: Transaction,
    rollout_id: str,
    seen: Position,
    move: Move,
    fleet_id: str,
    plan: RolloutPlan,
    now_utc_ns: int,
) -> bool:
    """Carry out a move that was decided at the position `seen`; False when the rollout has moved since then."""
    row = queries.open_row(tx)
    if row is None or row.rollout_id != rollout_id:
        return False
    now = queries.rollout_of(row).position
    if (now.stage, now.canary_percent, now.stage_began_at_utc_ns) != (
        seen.stage, seen.canary_percent, seen.stage_began_at_utc_ns,
    ):  # fmt: skip
        return False
    carry_out(tx, row, move, fleet_id, plan, now_utc_ns)
    if move.without:
        retry(tx, rollout_id, "the controller", fleet_id, plan, now_utc_ns, move.without)
    return True


def carry_out(
    tx: Transaction, rollout: RolloutRow, move: Move, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> None:
    """Move a rollout: the model's stage, its announcement, and the assignments of the vehicles that it concerns."""
    rollout.reasons = json.dumps(list(move.reasons))
    if move.stays:
        return
    model = tx.session.get_one(ModelRow, rollout.digest)
    with span("rollout-controller moves", parent=model.traceparent, attributes={"stage": move.stage.value}):
        if move.stage is Stage.RELEASED:
            for old in tx.session.scalars(sa.select(ModelRow).where(ModelRow.stage == Stage.RELEASED.value)):
                old.stage = Stage.REGISTERED.value
        model.stage = move.stage.value
        rollout.stage, rollout.canary_percent = move.stage.value, move.canary_percent
        rollout.stage_began_at_utc_ns, rollout.running_s = now_utc_ns, 0.0
        rollout.open = move.stage in (Stage.SHADOWING, Stage.CANARY)
        tx.session.flush()
        _announce(
            tx, model, move.stage, move.canary_percent, rollout.rollout_id, rollout.previous, move.reasons, now_utc_ns
        )
        reassign(tx, fleet_id, plan, now_utc_ns)


def _announce(
    tx: Transaction,
    model: ModelRow,
    stage: Stage,
    canary_percent: int,
    rollout_id: str,
    previous: str,
    reasons: Sequence[str],
    now_utc_ns: int,
) -> None:
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


def record_report(
    tx: Transaction, report: Report, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> Rollout | None:
    """Record what a vehicle runs and what it did; return the rollout when it was the last to attest its model.

    Late reports are ignored: those of the same boot by their sequence, those of an earlier boot by their time.
    """
    vehicle = record_contact(tx, report.vehicle_id, fleet_id, plan, now_utc_ns)
    until_ns = min(report.end_utc_ns, now_utc_ns)  # a clock that ran ahead must not hide the reports of later boots
    same_boot = report.boot == vehicle.attested_boot
    last = vehicle.attested_sequence if same_boot else None
    if is_late(report.sequence, last, until_ns, vehicle.attested_until_utc_ns):
        return None
    vehicle.attested_boot, vehicle.attested_sequence = report.boot, report.sequence
    vehicle.attested_until_utc_ns = max(vehicle.attested_until_utc_ns, until_ns)
    record_evidence(tx, vehicle, report, plan, now_utc_ns)
    if report.assignment.active == vehicle.attested:
        return None
    vehicle.attested, vehicle.attested_at_utc_ns = report.assignment.active, now_utc_ns
    return complete_rollout(tx, plan, now_utc_ns)


def complete_rollout(tx: Transaction, plan: RolloutPlan, now_utc_ns: int) -> Rollout | None:
    """Complete the rollout whose model every vehicle that is heard from attests; None when there is none.

    It is also called without a report: a vehicle that falls silent no longer holds the rollout up.
    """
    tx.session.flush()
    row = queries.incomplete_row(tx)
    if row is None:
        return None
    heard = sa.and_(VehicleRow.last_seen_utc_ns >= queries.heard_since_ns(plan, now_utc_ns), ~VehicleRow.revoked)
    if tx.session.scalar(sa.select(sa.exists().where(heard, VehicleRow.attested != row.digest))):
        return None
    last_ns = tx.session.scalar(
        sa.select(sa.func.max(VehicleRow.attested_at_utc_ns)).where(heard, VehicleRow.attested == row.digest)
    )
    if last_ns is None:
        return None
    row.last_attested_at_utc_ns = max(last_ns, row.began_at_utc_ns)
    took_s = ns_to_seconds(row.last_attested_at_utc_ns - row.began_at_utc_ns)
    LAST_VEHICLE_SECONDS.observe(took_s)
    run = passed_run_from(tx.session.get_one(ModelRow, row.digest).run)
    samples = end_rollout(tx, run, row.last_attested_at_utc_ns)
    log.info("last_vehicle_attests", model=row.digest, seconds=took_s, samples=samples)
    return queries.rollout_of(row)


def roll_back(
    tx: Transaction, rollout_id: str, reason: str, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> Rollout:
    """Roll a model back on an operator's request. Raises NotFoundError or FailedPreconditionError."""
    rollout = tx.session.get(RolloutRow, rollout_id)
    if rollout is None:
        raise NotFoundError("no such rollout", "rollout_id", "ListRollouts has them all")
    drives = rollout.stage == Stage.RELEASED.value and queries.released(tx) == rollout.digest
    if not rollout.open and not (drives and rollout.previous):
        raise FailedPreconditionError(
            "the rollout is not open and its model does not drive, or no model was released before it", "rollout_id"
        )
    if drives:
        tx.session.get_one(ModelRow, rollout.previous).stage = Stage.RELEASED.value
    carry_out(tx, rollout, Move(Stage.ROLLED_BACK, 0, (reason or "by hand",)), fleet_id, plan, now_utc_ns)
    return queries.rollout_of(rollout)


def prune_changes(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Delete at most `limit` changes older than `keep_s`, and publications long done; return how many changes.

    The latest change of each model stays. The newest change of all is one of them, so the sequence never restarts.
    """
    old = sa.select(PublicationRow.number).where(
        PublicationRow.done,
        PublicationRow.signed_at_utc_ns < now_utc_ns - _PUBLICATIONS_KEPT_NS,
        PublicationRow.number < sa.select(sa.func.max(PublicationRow.number)).scalar_subquery(),
    )
    numbers = tx.session.scalars(old.limit(limit)).all()
    tx.session.execute(sa.delete(PublicationRow).where(PublicationRow.number.in_(numbers)))
    superseded = ~sa.exists().where(ModelRow.latest_sequence == ChangeRow.sequence)
    oldest = sa.select(ChangeRow).where(superseded).order_by(ChangeRow.sequence).limit(limit)
    sequences = [
        row.sequence
        for row in tx.session.scalars(oldest)
        if change_from(row.message).changed_at_utc_ns < now_utc_ns - seconds_to_ns(keep_s)
    ]
    tx.session.execute(sa.delete(ChangeRow).where(ChangeRow.sequence.in_(sequences)))
    return len(sequences)

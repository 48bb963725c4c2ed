"""What the controller writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import STAGE_SECONDS
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.codec import (
    change_bytes,
    change_from,
    change_of,
    fetch_command,
    model_event,
    passed_run_from,
)
from rollout_controller.core import assign, chosen_vehicles, is_late, must_sign_again
from rollout_controller.metrics import LAST_VEHICLE_SECONDS
from rollout_controller.model import (
    Attestation,
    Cohort,
    ListedFile,
    Move,
    PassedRun,
    Position,
    Publication,
    Rollout,
    RolloutPlan,
    SignedAssignment,
    Stage,
)
from rollout_controller.store import ChangeRow, ModelRow, PublicationRow, RolloutRow, VehicleRow

SERVICE = "rollout-controller"
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
    )
    tx.session.add(row)
    tx.session.flush()
    if previous:
        move = Move(Stage.SHADOWING, 0, (f"runs in shadow on {plan.shadow_percent} % of the vehicles",))
    else:
        move = Move(Stage.RELEASED, 100, ("the first model: there is none to compare it with",))
    carry_out(tx, row, move, fleet_id, plan, now_utc_ns)
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
    if row is None or row.rollout_id != rollout_id or queries.rollout_of(row).position != seen:
        return False
    carry_out(tx, row, move, fleet_id, plan, now_utc_ns)
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
        rollout.stage_began_at_utc_ns = now_utc_ns
        rollout.open = move.stage in (Stage.SHADOWING, Stage.CANARY)
        tx.session.flush()
        _announce(
            tx, model, move.stage, move.canary_percent, rollout.rollout_id, rollout.previous, move.reasons, now_utc_ns
        )
        reassign(tx, fleet_id, plan, now_utc_ns)
    if not rollout.open:
        STAGE_SECONDS.labels(SERVICE, "rollout").observe(ns_to_seconds(now_utc_ns - rollout.began_at_utc_ns))


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


def reassign(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> int:
    """Update every vehicle's assignment and send a command to those whose assignment changed; return how many."""
    vehicles = tx.session.scalars(sa.select(VehicleRow).order_by(VehicleRow.vehicle_id)).all()
    heard_since = queries.heard_since_ns(plan, now_utc_ns)
    names = [vehicle.vehicle_id for vehicle in vehicles if vehicle.last_seen_utc_ns >= heard_since]
    rollout = queries.open_rollout(tx)
    position = rollout.position if rollout else None
    rollout_id = rollout.rollout_id if rollout else queries.last_rollout_id(tx)
    candidate, driving = (rollout.digest if rollout else ""), queries.released(tx)
    members = frozenset(
        vehicle.vehicle_id
        for vehicle in vehicles
        if vehicle.rollout_id == rollout_id and vehicle.cohort != Cohort.CONTROL.value
    )
    chosen = chosen_vehicles(names, position, rollout_id, plan, members)
    changed = 0
    for vehicle in vehicles:
        new = assign(vehicle.vehicle_id in chosen, position, rollout_id, candidate, driving)
        if queries.assignment_of(vehicle) == new:
            continue
        vehicle.active, vehicle.shadow = new.active, new.shadow
        vehicle.rollout_id, vehicle.cohort = new.rollout_id, new.cohort.value
        vehicle.version += 1
        vehicle.signed_at_utc_ns = now_utc_ns
        changed += 1
        tx.publish(fetch_command(fleet_id, vehicle.vehicle_id, rollout_id, vehicle.version, now_utc_ns))
    return changed


def _record_contact(
    tx: Transaction, vehicle_id: str, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> VehicleRow:
    """The row of a vehicle that was just heard from. A vehicle that is new gets its assignment."""
    row = tx.session.get(VehicleRow, vehicle_id)
    if row is None:
        row = VehicleRow(
            vehicle_id=vehicle_id, version=1, signed_at_utc_ns=now_utc_ns, active="", shadow="", rollout_id="",
            cohort=Cohort.CONTROL.value, attested="", attested_boot=b"", attested_sequence=-1, attested_at_utc_ns=0,
            attested_until_utc_ns=0, last_seen_utc_ns=now_utc_ns,
        )  # fmt: skip
        tx.session.add(row)
        tx.session.flush()
        reassign(tx, fleet_id, plan, now_utc_ns)
    row.last_seen_utc_ns = max(row.last_seen_utc_ns, now_utc_ns)
    return row


def director_assignment(
    tx: Transaction, vehicle_id: str, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> SignedAssignment:
    """What a vehicle that asks its director is assigned to run.

    The version rises once the metadata is old enough to be signed again: its expiry changes, and vehicles accept
    changed metadata only with a higher version.
    """
    row = _record_contact(tx, vehicle_id, fleet_id, plan, now_utc_ns)
    if must_sign_again(row.signed_at_utc_ns, now_utc_ns):
        row.version += 1
        row.signed_at_utc_ns = now_utc_ns
    return SignedAssignment(queries.assignment_of(row), row.version, row.signed_at_utc_ns)


def record_attestation(
    tx: Transaction, report: Attestation, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> Rollout | None:
    """Record what a vehicle runs; return the rollout when this was the last vehicle to attest its model.

    Late reports are ignored: those of the same boot by their sequence, those of an earlier boot by their time.
    """
    vehicle = _record_contact(tx, report.vehicle_id, fleet_id, plan, now_utc_ns)
    until_ns = min(report.end_utc_ns, now_utc_ns)  # a clock that ran ahead must not hide the reports of later boots
    same_boot = report.boot == vehicle.attested_boot
    last = vehicle.attested_sequence if same_boot else None
    if is_late(report.sequence, last, until_ns, vehicle.attested_until_utc_ns):
        return None
    vehicle.attested_boot, vehicle.attested_sequence = report.boot, report.sequence
    vehicle.attested_until_utc_ns = max(vehicle.attested_until_utc_ns, until_ns)
    if report.digest == vehicle.attested:
        return None
    vehicle.attested, vehicle.attested_at_utc_ns = report.digest, now_utc_ns
    return complete_rollout(tx, plan, now_utc_ns)


def complete_rollout(tx: Transaction, plan: RolloutPlan, now_utc_ns: int) -> Rollout | None:
    """Complete the rollout whose model every vehicle that is heard from attests; None when there is none.

    It is also called without a report: a vehicle that falls silent no longer holds the rollout up.
    """
    tx.session.flush()
    row = queries.incomplete_row(tx)
    if row is None:
        return None
    heard = VehicleRow.last_seen_utc_ns >= queries.heard_since_ns(plan, now_utc_ns)
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
    log.info("last_vehicle_attests", model=row.digest, seconds=took_s)
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

"""What the controller writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.tracing import current_traceparent
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.codec import change_from, passed_run_from
from rollout_controller.core import is_late, must_sign_again
from rollout_controller.metrics import LAST_VEHICLE_SECONDS
from rollout_controller.model import (
    ListedFile,
    PassedRun,
    Publication,
    Report,
    Rollout,
    RolloutPlan,
    Stage,
)
from rollout_controller.store import ChangeRow, ModelRow, PublicationRow, VehicleRow
from rollout_controller.transactions.announcements import announce
from rollout_controller.transactions.assignments import record_contact
from rollout_controller.transactions.evidence import record_evidence
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
    announce(tx, row, Stage.REGISTERED, 0, "", "", run.reasons, now_utc_ns)
    end_training(tx, run)
    return True


def begin_publication(tx: Transaction, now_utc_ns: int, keys_changed: bool = False) -> Publication | None:
    """The publication to carry out: the one that was begun and is not done, or a new one; None when none is due."""
    last = queries.last_publication(tx)
    if last is not None and not last.done:
        cosignature = (last.cosigner, last.cosignature) if last.cosigner else None
        return Publication(last.number, last.signed_at_utc_ns, json.loads(last.digests), cosignature)
    known = tx.session.scalars(sa.select(ModelRow).order_by(ModelRow.number)).all()
    rows = [row for row in known if row.published or row.stage != Stage.ROLLED_BACK.value]
    is_stale = last is not None and (keys_changed or must_sign_again(last.signed_at_utc_ns, now_utc_ns))
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
        announce(tx, row, Stage.ROLLED_BACK, 0, "", "", reasons, now_utc_ns)
    tx.session.delete(tx.session.get_one(PublicationRow, publication))
    return refused


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

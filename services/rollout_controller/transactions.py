"""What the controller does in one transaction each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.process.metrics import STAGE_SECONDS
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.paging import FIRST_PAGE, Page
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller.codec import change_of, fetch_command, model_event
from rollout_controller.core import assign, chosen_of
from rollout_controller.model import Cohort, Move, RolloutPlan, Stage, Standing
from rollout_controller.store import ChangeRow, ModelRow, PublicationRow, RolloutRow, VehicleRow

SERVICE = "rollout-controller"


def register(tx: Transaction, run: training_pb2.RunChanged, now_utc_ns: int) -> bool:
    """Notes a model that passed its examination; False when it is known."""
    if tx.session.get(ModelRow, run.model_digest) is not None:
        return False
    number = (tx.session.scalar(sa.select(sa.func.max(ModelRow.number))) or 0) + 1
    row = ModelRow(
        digest=run.model_digest,
        number=number,
        stage=Stage.REGISTERED.value,
        run=run.SerializeToString(),
        files="[]",
        published=False,
        traceparent=current_traceparent(),
        latest_sequence=0,
    )
    tx.session.add(row)
    tx.session.flush()
    _announce(tx, row, Stage.REGISTERED, 0, "", "", run.reasons, now_utc_ns)
    return True


def refuse(tx: Transaction, publication: int, digests: Sequence[str], reason: str, now_utc_ns: int) -> list[str]:
    """Takes back those of the models that no publication lists yet, and drops the publication that tried to."""
    refused = []
    for digest in digests:
        row = tx.session.get_one(ModelRow, digest)
        if row.published or row.stage == Stage.ROLLED_BACK.value:
            continue
        row.stage = Stage.ROLLED_BACK.value
        refused.append(digest)
        _announce(
            tx, row, Stage.ROLLED_BACK, 0, "", "", [f"refused before it reached a vehicle: {reason}"], now_utc_ns
        )
    tx.session.delete(tx.session.get_one(PublicationRow, publication))
    return refused


def released(tx: Transaction) -> str:
    """Digest of the model that drives; empty before the first."""
    row = tx.session.scalars(sa.select(ModelRow).where(ModelRow.stage == Stage.RELEASED.value)).first()
    return row.digest if row else ""


def open_rollout(tx: Transaction) -> RolloutRow | None:
    """The rollout on its way, if any: there is one at a time."""
    return tx.session.scalars(sa.select(RolloutRow).where(RolloutRow.open)).first()


def next_candidate(tx: Transaction) -> ModelRow | None:
    """The candidate whose rollout is to begin: the newest that is published, once none is on its way."""
    if open_rollout(tx) is not None:
        return None
    candidate = tx.session.scalars(
        sa.select(ModelRow)
        .where(ModelRow.published, ModelRow.stage == Stage.REGISTERED.value)
        .order_by(ModelRow.number.desc())
    ).first()
    newest_tried = tx.session.scalar(
        sa.select(sa.func.max(ModelRow.number)).where(ModelRow.stage != Stage.REGISTERED.value)
    )
    if candidate is None or candidate.number < (newest_tried or 0):
        return None
    return candidate


def begin_next(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> RolloutRow | None:
    """Begins the rollout of the newest published candidate when none is on its way; older ones are passed over.

    The fleet's first model is released at once: there is nothing that it could be compared with.
    """
    candidate = next_candidate(tx)
    if candidate is None:
        return None
    previous = released(tx)
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
        move = Move(Stage.SHADOWING, 0, (f"runs silently on {plan.shadow_percent} % of the vehicles",))
    else:
        move = Move(Stage.RELEASED, 100, ("the first model: there is none to compare it with",))
    carry_out(tx, row, move, fleet_id, plan, now_utc_ns)
    return row


def carry_out(
    tx: Transaction, rollout: RolloutRow, move: Move, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> None:
    """Moves a rollout: model, announcements, what vehicles are meant to run, commands to those it changes for."""
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
        STAGE_SECONDS.labels(SERVICE, "rollout").observe((now_utc_ns - rollout.began_at_utc_ns) / 1e9)


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
        training_pb2.RunChanged.FromString(model.run),
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
    tx.session.add(ChangeRow(sequence=sequence, digest=model.digest, message=change.SerializeToString()))
    tx.publish(model_event(change))


def reassign(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> int:
    """Brings every vehicle's assignment up to date; commands go to those that it changed for. Returns how many."""
    vehicles = tx.session.scalars(sa.select(VehicleRow).order_by(VehicleRow.vehicle_id)).all()
    heard_since = heard_since_ns(plan, now_utc_ns)
    names = [vehicle.vehicle_id for vehicle in vehicles if vehicle.last_seen_utc_ns >= heard_since]
    rollout = open_rollout(tx)
    standing = (
        Standing(Stage(rollout.stage), rollout.canary_percent, rollout.stage_began_at_utc_ns) if rollout else None
    )
    rollout_id = rollout.rollout_id if rollout else _last_rollout(tx)
    candidate, driving = (rollout.digest if rollout else ""), released(tx)
    members = frozenset(
        vehicle.vehicle_id
        for vehicle in vehicles
        if vehicle.rollout_id == rollout_id and vehicle.cohort != Cohort.CONTROL.value
    )
    chosen = chosen_of(names, standing, rollout_id, plan, members)
    changed = 0
    for vehicle in vehicles:
        wanted = assign(vehicle.vehicle_id in chosen, standing, rollout_id, candidate, driving)
        now = (vehicle.active, vehicle.shadow, vehicle.rollout_id, vehicle.cohort)
        if now == (wanted.active, wanted.shadow, wanted.rollout_id, wanted.cohort.value):
            continue
        vehicle.active, vehicle.shadow = wanted.active, wanted.shadow
        vehicle.rollout_id, vehicle.cohort = wanted.rollout_id, wanted.cohort.value
        vehicle.version += 1
        vehicle.signed_at_utc_ns = now_utc_ns
        changed += 1
        tx.publish(fetch_command(fleet_id, vehicle.vehicle_id, rollout_id, vehicle.version, now_utc_ns))
    return changed


def _last_rollout(tx: Transaction) -> str:
    query = sa.select(RolloutRow.rollout_id).order_by(RolloutRow.began_at_utc_ns.desc()).limit(1)
    return tx.session.scalars(query).first() or ""


def heard_since_ns(plan: RolloutPlan, now_utc_ns: int) -> int:
    """A vehicle that was not heard from since then is silent."""
    return now_utc_ns - seconds_to_ns(plan.silent_after_s)


def silent_vehicles(tx: Transaction, plan: RolloutPlan, now_utc_ns: int) -> int:
    """How many vehicles are waited for no more."""
    silent = sa.select(sa.func.count()).where(VehicleRow.last_seen_utc_ns < heard_since_ns(plan, now_utc_ns))
    return tx.session.scalar(silent) or 0


def enlist(tx: Transaction, vehicle_id: str, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> VehicleRow:
    """The row of a vehicle that was just heard from; one that is new gets what it is meant to run."""
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


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a report says that its vehicle ran."""

    digest: str
    boot: bytes
    sequence: int
    end_utc_ns: int
    """The vehicle's clock."""


def attest(
    tx: Transaction, vehicle: VehicleRow, report: Attestation, plan: RolloutPlan, now_utc_ns: int
) -> RolloutRow | None:
    """Notes what a vehicle runs; returns the rollout when this was the last vehicle to attest its model.

    Reports that come late are passed over: of the same boot by their sequence, of an earlier boot by their time.
    """
    until_ns = min(report.end_utc_ns, now_utc_ns)  # a clock that ran ahead must not silence the boots after it
    if report.boot == vehicle.attested_boot:
        if report.sequence <= vehicle.attested_sequence:
            return None
    elif until_ns < vehicle.attested_until_utc_ns:
        return None
    vehicle.attested_boot, vehicle.attested_sequence = report.boot, report.sequence
    vehicle.attested_until_utc_ns = max(vehicle.attested_until_utc_ns, until_ns)
    if report.digest == vehicle.attested:
        return None
    vehicle.attested, vehicle.attested_at_utc_ns = report.digest, now_utc_ns
    return conclude(tx, plan, now_utc_ns)


def unattested(tx: Transaction) -> RolloutRow | None:
    """The rollout of the model that drives, while its last vehicle has not attested it."""
    return tx.session.scalars(
        sa.select(RolloutRow).where(
            RolloutRow.digest == released(tx),
            RolloutRow.stage == Stage.RELEASED.value,
            RolloutRow.last_attested_at_utc_ns == 0,
        )
    ).first()


def conclude(tx: Transaction, plan: RolloutPlan, now_utc_ns: int) -> RolloutRow | None:
    """The rollout whose model every vehicle that is heard from attests since now; None when there is none.

    Also asked without a report: a vehicle that falls silent holds nothing up any more.
    """
    tx.session.flush()
    rollout = unattested(tx)
    if rollout is None:
        return None
    heard = VehicleRow.last_seen_utc_ns >= heard_since_ns(plan, now_utc_ns)
    if tx.session.scalar(sa.select(sa.exists().where(heard, VehicleRow.attested != rollout.digest))):
        return None
    last_ns = tx.session.scalar(
        sa.select(sa.func.max(VehicleRow.attested_at_utc_ns)).where(heard, VehicleRow.attested == rollout.digest)
    )
    if last_ns is None:
        return None
    rollout.last_attested_at_utc_ns = max(last_ns, rollout.began_at_utc_ns)
    return rollout


def roll_back(
    tx: Transaction, rollout_id: str, reason: str, fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> RolloutRow:
    """Takes a model back by hand. Raises a Refusal NOT_FOUND or FAILED_PRECONDITION."""
    rollout = tx.session.get(RolloutRow, rollout_id)
    if rollout is None:
        raise NotFoundError("no such rollout; ListRollouts has them all", "rollout_id")
    drives = rollout.stage == Stage.RELEASED.value and released(tx) == rollout.digest
    if not rollout.open and not (drives and rollout.previous):
        raise FailedPreconditionError(
            "it is not on its way and does not drive, or nothing stood before it", "rollout_id"
        )
    if drives:
        tx.session.get_one(ModelRow, rollout.previous).stage = Stage.RELEASED.value
    carry_out(tx, rollout, Move(Stage.ROLLED_BACK, 0, (reason or "by hand",)), fleet_id, plan, now_utc_ns)
    return rollout


_PUBLICATIONS_KEPT_NS = 30 * 86_400 * 10**9


def forget_changes(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Lets go of `limit` changes older than `keep_s`, never of a model's latest, and of publications long done.

    The newest change is some model's latest, so that the sequence never begins anew.
    """
    old = sa.select(PublicationRow.number).where(
        PublicationRow.done,
        PublicationRow.signed_at_utc_ns < now_utc_ns - _PUBLICATIONS_KEPT_NS,
        PublicationRow.number < sa.select(sa.func.max(PublicationRow.number)).scalar_subquery(),
    )
    numbers = tx.session.scalars(old.limit(limit)).all()
    tx.session.execute(sa.delete(PublicationRow).where(PublicationRow.number.in_(numbers)))
    overtaken = ~sa.exists().where(ModelRow.latest_sequence == ChangeRow.sequence)
    oldest = sa.select(ChangeRow).where(overtaken).order_by(ChangeRow.sequence).limit(limit)
    gone = [
        row.sequence
        for row in tx.session.scalars(oldest)
        if rollout_pb2.ModelChanged.FromString(row.message).changed_at_utc_ns < now_utc_ns - seconds_to_ns(keep_s)
    ]
    tx.session.execute(sa.delete(ChangeRow).where(ChangeRow.sequence.in_(gone)))
    return len(gone)


def models(tx: Transaction, page: Page = FIRST_PAGE) -> tuple[list[rollout_pb2.ModelChanged], str]:
    """A page of the latest change of each model, the newest change first, and the token of the next page."""
    query = (
        sa.select(ChangeRow)
        .join(ModelRow, ModelRow.latest_sequence == ChangeRow.sequence)
        .order_by(ModelRow.latest_sequence.desc())
        .limit(page.size + 1)
    )
    if page.before is not None:
        query = query.where(ModelRow.latest_sequence < page.before)
    rows = tx.session.scalars(query).all()
    found = [rollout_pb2.ModelChanged.FromString(row.message) for row in rows[: page.size]]
    return found, page.next_token([row.sequence for row in rows])


def changes_after(
    tx: Transaction, sequence: int, stages: Sequence[int], limit: int = 100
) -> list[rollout_pb2.ModelChanged]:
    """Changes after a resume token, in sequence."""
    query = sa.select(ChangeRow).where(ChangeRow.sequence > sequence).order_by(ChangeRow.sequence).limit(limit)
    changes = [rollout_pb2.ModelChanged.FromString(row.message) for row in tx.session.scalars(query)]
    return [change for change in changes if not stages or change.stage in stages]

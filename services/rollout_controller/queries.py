"""What the controller reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.paging import FIRST_PAGE, Page
from rollout_controller.codec import change_from, passed_run_from
from rollout_controller.core import must_sign_again
from rollout_controller.model import (
    Assignment,
    Cohort,
    ListedFile,
    ModelChange,
    PassedRun,
    Position,
    Rollout,
    RolloutPlan,
    RolloutStatus,
    Stage,
)
from rollout_controller.store import ChangeRow, ModelRow, PublicationRow, RolloutRow, VehicleRow


def released(tx: Transaction) -> str:
    """Digest of the model that drives; empty before the first."""
    row = _released_row(tx)
    return row.digest if row else ""


def released_run(tx: Transaction) -> PassedRun | None:
    """The run that made the model that drives; None before the first."""
    row = _released_row(tx)
    return None if row is None else passed_run_from(row.run)


def _released_row(tx: Transaction) -> ModelRow | None:
    return tx.session.scalars(sa.select(ModelRow).where(ModelRow.stage == Stage.RELEASED.value)).first()


def newest_run(tx: Transaction) -> PassedRun | None:
    """The run that made the newest model, at whatever stage it is; None before the first."""
    row = tx.session.scalars(sa.select(ModelRow).order_by(ModelRow.number.desc()).limit(1)).first()
    return None if row is None else passed_run_from(row.run)


def open_row(tx: Transaction) -> RolloutRow | None:
    """The row of the open rollout, if there is one: there is one at a time."""
    return tx.session.scalars(sa.select(RolloutRow).where(RolloutRow.open)).first()


def open_rollout(tx: Transaction) -> Rollout | None:
    """The open rollout, if there is one."""
    row = open_row(tx)
    return None if row is None else rollout_of(row)


def rollout_of(row: RolloutRow) -> Rollout:
    """A row as a value."""
    return Rollout(
        rollout_id=row.rollout_id,
        digest=row.digest,
        previous=row.previous,
        position=Position(Stage(row.stage), row.canary_percent, row.stage_began_at_utc_ns),
        began_at_utc_ns=row.began_at_utc_ns,
        reasons=tuple(json.loads(row.reasons)),
        is_open=row.open,
        last_attested_at_utc_ns=row.last_attested_at_utc_ns,
        approved_by=row.approved_by,
    )


def next_candidate(tx: Transaction) -> ModelRow | None:
    """The model whose rollout is to begin: the newest that is published; None while a rollout is open."""
    if open_row(tx) is not None:
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


def has_candidate(tx: Transaction) -> bool:
    """True when a rollout is to begin."""
    return next_candidate(tx) is not None


def last_rollout_id(tx: Transaction) -> str:
    """Id of the newest rollout; empty before the first."""
    query = sa.select(RolloutRow.rollout_id).order_by(RolloutRow.began_at_utc_ns.desc()).limit(1)
    return tx.session.scalars(query).first() or ""


def incomplete_row(tx: Transaction) -> RolloutRow | None:
    """The rollout of the model that drives, while its last vehicle has not attested it."""
    return tx.session.scalars(
        sa.select(RolloutRow).where(
            RolloutRow.digest == released(tx),
            RolloutRow.stage == Stage.RELEASED.value,
            RolloutRow.last_attested_at_utc_ns == 0,
        )
    ).first()


def is_incomplete(tx: Transaction) -> bool:
    """True while a vehicle has not attested the model that drives."""
    return incomplete_row(tx) is not None


def rollouts(tx: Transaction, plan: RolloutPlan, now_utc_ns: int) -> list[RolloutStatus]:
    """All rollouts, newest first."""
    rows = tx.session.scalars(sa.select(RolloutRow).order_by(RolloutRow.began_at_utc_ns.desc())).all()
    vehicles = tx.session.scalars(sa.select(VehicleRow)).all()
    silent = silent_vehicles(tx, plan, now_utc_ns)
    return [_status(rollout_of(row), vehicles, silent) for row in rows]


def status_of(tx: Transaction, rollout: Rollout, plan: RolloutPlan, now_utc_ns: int) -> RolloutStatus:
    """A rollout with what the fleet does with its model."""
    return _status(rollout, tx.session.scalars(sa.select(VehicleRow)).all(), silent_vehicles(tx, plan, now_utc_ns))


def _status(rollout: Rollout, vehicles: Sequence[VehicleRow], silent: int) -> RolloutStatus:
    return RolloutStatus(
        rollout=rollout,
        vehicles=sorted(v.vehicle_id for v in vehicles if rollout.digest in (v.active, v.shadow)),
        attested=sum(v.attested == rollout.digest for v in vehicles),
        silent_vehicles=silent,
    )


def heard_since_ns(plan: RolloutPlan, now_utc_ns: int) -> int:
    """A vehicle that was not heard from since this time is silent."""
    return now_utc_ns - seconds_to_ns(plan.silent_after_s)


def silent_vehicles(tx: Transaction, plan: RolloutPlan, now_utc_ns: int) -> int:
    """How many vehicles no rollout waits for."""
    silent = sa.select(sa.func.count()).where(VehicleRow.last_seen_utc_ns < heard_since_ns(plan, now_utc_ns))
    return tx.session.scalar(silent) or 0


def attested_counts(tx: Transaction) -> dict[str, int]:
    """Digest of a model -> vehicles that attest it; the empty digest are vehicles that attest none."""
    counts = sa.select(VehicleRow.attested, sa.func.count()).group_by(VehicleRow.attested)
    return dict(tx.session.execute(counts).all())


def assignment_of(row: VehicleRow) -> Assignment:
    """What a vehicle is assigned to run."""
    return Assignment(row.active, row.shadow, row.rollout_id, Cohort(row.cohort))


def models(tx: Transaction, page: Page = FIRST_PAGE) -> tuple[list[ModelChange], str]:
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
    found = [change_from(row.message) for row in rows[: page.size]]
    return found, page.next_token([row.sequence for row in rows])


def changes_after(tx: Transaction, sequence: int, limit: int = 100) -> list[ModelChange]:
    """Changes after a resume token, in sequence."""
    query = sa.select(ChangeRow).where(ChangeRow.sequence > sequence).order_by(ChangeRow.sequence).limit(limit)
    return [change_from(row.message) for row in tx.session.scalars(query)]


def last_publication(tx: Transaction) -> PublicationRow | None:
    """The newest publication of the TUF repository."""
    return tx.session.scalars(sa.select(PublicationRow).order_by(PublicationRow.number.desc()).limit(1)).first()


def has_to_publish(tx: Transaction, now_utc_ns: int) -> bool:
    """True when a model is not listed yet, a publication is not done, or signatures have to be renewed."""
    last = last_publication(tx)
    if last is not None and (not last.done or must_sign_again(last.signed_at_utc_ns, now_utc_ns)):
        return True
    unlisted = sa.exists().where(~ModelRow.published, ModelRow.stage != Stage.ROLLED_BACK.value)
    return bool(tx.session.scalar(sa.select(unlisted)))


def listed_files(tx: Transaction, digest: str) -> list[ListedFile]:
    """Files of a model that is listed already; empty before that."""
    return [ListedFile(*file) for file in json.loads(tx.session.get_one(ModelRow, digest).files)]


def artifact_address(tx: Transaction, digest: str) -> str:
    """Where the files of a model are that passed its examination."""
    return passed_run_from(tx.session.get_one(ModelRow, digest).run).artifact_address

"""What the controller reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from fleetloop.domain.sequential import Score, compare_decisions, tolerated_of
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.paging import FIRST_PAGE, Page
from rollout_controller.codec import change_from, passed_run_from
from rollout_controller.core import Driven, forecast_of, forecast_text, held_text, must_sign_again
from rollout_controller.evidence import OfVehicle, outliers_of
from rollout_controller.model import (
    Assignment,
    Cohort,
    CohortTotals,
    Decisions,
    Evidence,
    ListedFile,
    ModelChange,
    PassedRun,
    Position,
    Rollout,
    RolloutPlan,
    RolloutStatus,
    Stage,
    Stop,
)
from rollout_controller.store import (
    ChangeRow,
    CohortRow,
    DrivenRow,
    EvidenceRow,
    ModelRow,
    PublicationRow,
    RefusedRow,
    RolloutRow,
    StopRow,
    VehicleRow,
)


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
        position=Position(Stage(row.stage), row.canary_percent, row.stage_began_at_utc_ns, row.running_s),
        began_at_utc_ns=row.began_at_utc_ns,
        reasons=tuple(json.loads(row.reasons)),
        is_open=row.open,
        last_attested_at_utc_ns=row.last_attested_at_utc_ns,
        approved_by=row.approved_by,
        reports=row.reports,
        tries=row.tries,
        barred=frozenset(json.loads(row.barred)),
        paused_by=row.paused_by,
        pause_reason=row.pause_reason,
    )


def stop(tx: Transaction) -> Stop | None:
    """Who stopped all rollouts, and why; None while none has."""
    row = tx.session.get(StopRow, 1)
    return None if row is None else Stop(row.stopped_by, row.reason, row.at_utc_ns)


def held(tx: Transaction, rollout: Rollout) -> str:
    """Why a rollout may not move forward; empty when it may."""
    return held_text(rollout, stop(tx))


def next_candidate(tx: Transaction) -> ModelRow | None:
    """The model whose rollout is to begin: the newest that is published and was never tried, if none newer was.

    None while a rollout is open, and while all are stopped. A released model that another one has superseded is
    registered again, and no candidate.
    """
    if open_row(tx) is not None or stop(tx) is not None:
        return None
    has_rollout = sa.exists().where(RolloutRow.digest == ModelRow.digest)
    newest_tried = tx.session.scalar(sa.select(sa.func.max(ModelRow.number)).where(has_rollout)) or 0
    untried = (ModelRow.published, ModelRow.stage == Stage.REGISTERED.value, ModelRow.number > newest_tried)
    return tx.session.scalars(sa.select(ModelRow).where(*untried).order_by(ModelRow.number.desc())).first()


def has_candidate(tx: Transaction) -> bool:
    """True when a rollout is to begin."""
    return next_candidate(tx) is not None


def evidence_vehicles(tx: Transaction, rollout_id: str) -> int:
    """How many vehicles gave evidence in a rollout."""
    query = sa.select(sa.func.count(sa.distinct(EvidenceRow.vehicle_id))).where(EvidenceRow.rollout_id == rollout_id)
    return tx.session.scalar(query) or 0


def evidence(tx: Transaction, rollout_id: str, plan: RolloutPlan) -> Evidence:
    """All evidence in a rollout. It takes as long for a rollout that ran for a year as for a new one."""
    of_rollout = EvidenceRow.rollout_id == rollout_id
    # What a vehicle says of decisions counts only where the candidate runs in shadow.
    of_shadow = sa.and_(of_rollout, EvidenceRow.cohort == Cohort.SHADOW.value)
    tolerated = tolerated_of(evidence_vehicles(tx, rollout_id), plan.lying_share)
    known = tx.session.scalars(sa.select(CohortRow).where(CohortRow.rollout_id == rollout_id))
    totals = {row.cohort: row for row in known}
    outliers = [name for row in totals.values() for name in _outliers(tx, row, tolerated)]
    believed = sa.and_(of_rollout, EvidenceRow.vehicle_id.not_in(outliers[:tolerated]))
    left_out = tolerated - len(outliers[:tolerated])
    faulty = sa.func.sum(sa.case((EvidenceRow.faults > 0, 1), else_=0))
    slow = sa.func.sum(sa.case((EvidenceRow.slow, 1), else_=0))
    counted = tx.session.execute(
        sa.select(EvidenceRow.cohort, sa.func.count(), faulty, slow).where(of_rollout).group_by(EvidenceRow.cohort)
    )
    cohorts = {
        cohort: CohortTotals(vehicles, totals[cohort].km, totals[cohort].interventions, faulty, slow)
        for cohort, vehicles, faulty, slow in counted
    }
    sums = (EvidenceRow.decisions, EvidenceRow.prevented, EvidenceRow.avoided, EvidenceRow.missed,
            EvidenceRow.false_stops)  # fmt: skip
    in_shadow = tx.session.execute(
        sa.select(*(sa.func.coalesce(sa.func.sum(each), 0) for each in sums)).where(of_shadow)
    ).one()
    unit = {name: compare_decisions(*counts, plan.shadow_margin) for name, counts in _UNITS.items()}
    better, worse = EvidenceRow.prevented + EvidenceRow.avoided, EvidenceRow.missed + EvidenceRow.false_stops
    equal = EvidenceRow.decisions - better - worse
    against = better * unit["better"].against + worse * unit["worse"].against
    in_favour = better * unit["better"].in_favour + worse * unit["worse"].in_favour + equal * unit["equal"].in_favour
    in_canary = cohorts.get(Cohort.CANARY.value) is not None
    return Evidence(
        shadow=cohorts.get(Cohort.SHADOW.value, CohortTotals()),
        canary=cohorts.get(Cohort.CANARY.value, CohortTotals()),
        control=cohorts.get(Cohort.CONTROL.value, CohortTotals()),
        decisions=Decisions(*map(int, in_shadow)),
        shadow_score=Score(
            _total(tx, of_shadow, against, tolerated),
            _total(tx, of_shadow, in_favour, tolerated),
            _total(tx, of_shadow, against, 0),
        ),
        score=Score(
            _total(tx, believed, EvidenceRow.against, left_out),
            _total(tx, believed, EvidenceRow.in_favour, left_out),
            _total(tx, believed, EvidenceRow.unguarded, 0),
        ),
        tolerated=tolerated,
        suspects=(
            _most(tx, believed, EvidenceRow.unguarded, tolerated)
            if in_canary
            else _most(tx, of_shadow, against, tolerated)
        ),
        members=_members(tx, rollout_id),
        outliers=tuple(sorted(outliers[:tolerated])),
        refused=dict(
            tx.session.execute(
                sa.select(RefusedRow.refusal, RefusedRow.count).where(RefusedRow.rollout_id == rollout_id)
            ).all()
        ),
    )


def _members(tx: Transaction, rollout_id: str) -> int:
    """How many vehicles are assigned the candidate, to drive with it or in shadow."""
    of_rollout = (VehicleRow.rollout_id == rollout_id, VehicleRow.cohort != Cohort.CONTROL.value)
    return tx.session.scalar(sa.select(sa.func.count()).where(*of_rollout)) or 0


def _outliers(tx: Transaction, cohort: CohortRow, tolerated: int) -> list[str]:
    if not tolerated:
        return []
    of_cohort = sa.select(EvidenceRow).where(
        EvidenceRow.rollout_id == cohort.rollout_id, EvidenceRow.cohort == cohort.cohort
    )
    most = tx.session.scalars(of_cohort.order_by(EvidenceRow.interventions.desc()).limit(tolerated))
    driven = [OfVehicle(row.vehicle_id, row.km, row.interventions) for row in most]
    return outliers_of(driven, cohort.km, cohort.interventions, tolerated)


_UNITS = {"better": (1, 0, 0), "worse": (0, 1, 0), "equal": (0, 0, 1)}
"""One decision of each kind: evidence on decisions is a sum over them."""


def _total(tx: Transaction, where: sa.ColumnElement[bool], score: Any, tolerated: int) -> float:
    """The sum of a score over all vehicles, without the `tolerated` vehicles that contribute the most."""
    per_vehicle = (
        sa.select(sa.func.sum(score).label("score")).where(where).group_by(EvidenceRow.vehicle_id).subquery()
    )
    everything = tx.session.scalar(sa.select(sa.func.sum(per_vehicle.c.score))) or 0.0
    if not tolerated:
        return float(everything)
    most = sa.select(per_vehicle.c.score).where(per_vehicle.c.score > 0)
    left_out = most.order_by(per_vehicle.c.score.desc()).limit(tolerated).subquery()
    return float(everything - (tx.session.scalar(sa.select(sa.func.sum(left_out.c.score))) or 0.0))


def _most(tx: Transaction, where: sa.ColumnElement[bool], score: Any, count: int) -> tuple[str, ...]:
    """The vehicles that contribute the most to a score."""
    if not count:
        return ()
    total = sa.func.sum(score)
    query = sa.select(EvidenceRow.vehicle_id).where(where).group_by(EvidenceRow.vehicle_id).having(total > 0)
    return tuple(sorted(tx.session.scalars(query.order_by(total.desc()).limit(count))))


def driven(tx: Transaction, digest: str, now_utc_ns: int) -> Driven | None:
    """What vehicles drove with a released model in the days that are kept; None for nothing."""
    sums: Any = tx.session.execute(
        sa.select(
            sa.func.sum(DrivenRow.km), sa.func.sum(DrivenRow.interventions), sa.func.min(DrivenRow.began_at_utc_ns)
        ).where(DrivenRow.digest == digest)
    ).one()
    km, interventions, began_ns = sums
    if km is None:
        return None
    return Driven(float(km), int(interventions), ns_to_seconds(max(0, now_utc_ns - began_ns)))


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
    """All rollouts, newest first. Evidence is added up only for the newest: for all, it would take ever longer."""
    rows = tx.session.scalars(sa.select(RolloutRow).order_by(RolloutRow.began_at_utc_ns.desc())).all()
    vehicles = tx.session.scalars(sa.select(VehicleRow)).all()
    silent = silent_vehicles(tx, plan, now_utc_ns)
    nothing = Evidence()
    return [
        _status(rollout_of(row), vehicles, silent, nothing if number else evidence(tx, row.rollout_id, plan))
        for number, row in enumerate(rows)
    ]


def rollout_status(tx: Transaction, rollout_id: str, plan: RolloutPlan, now_utc_ns: int) -> RolloutStatus | None:
    """One rollout with its evidence and what the fleet does with its model; None when there is none with this id."""
    row = tx.session.get(RolloutRow, rollout_id)
    return None if row is None else status_of(tx, rollout_of(row), plan, now_utc_ns)


def forecast(tx: Transaction, rollout: Rollout, plan: RolloutPlan, now_utc_ns: int) -> str:
    """What the canaries of a rollout have to drive, in words."""
    return forecast_text(forecast_of(driven(tx, rollout.previous, now_utc_ns), plan), plan)


def status_of(tx: Transaction, rollout: Rollout, plan: RolloutPlan, now_utc_ns: int) -> RolloutStatus:
    """A rollout with what the fleet does with its model."""
    vehicles, silent = tx.session.scalars(sa.select(VehicleRow)).all(), silent_vehicles(tx, plan, now_utc_ns)
    return _status(rollout, vehicles, silent, evidence(tx, rollout.rollout_id, plan))


def _status(rollout: Rollout, vehicles: Sequence[VehicleRow], silent: int, known: Evidence) -> RolloutStatus:
    return RolloutStatus(
        rollout=rollout,
        vehicles=sorted(v.vehicle_id for v in vehicles if rollout.digest in (v.active, v.shadow)),
        attested=sum(v.attested == rollout.digest for v in vehicles),
        silent_vehicles=silent,
        evidence=known,
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


def has_to_publish(tx: Transaction, now_utc_ns: int, keys_changed: bool = False) -> bool:
    """True when a model is not listed yet, a publication is not done, or signatures have to be renewed."""
    last = last_publication(tx)
    if last is not None and (keys_changed or not last.done or must_sign_again(last.signed_at_utc_ns, now_utc_ns)):
        return True
    unlisted = sa.exists().where(~ModelRow.published, ModelRow.stage != Stage.ROLLED_BACK.value)
    return bool(tx.session.scalar(sa.select(unlisted)))


def listed_files(tx: Transaction, digest: str) -> list[ListedFile]:
    """Files of a model that is listed already; empty before that."""
    return [ListedFile(*file) for file in json.loads(tx.session.get_one(ModelRow, digest).files)]


def artifact_address(tx: Transaction, digest: str) -> str:
    """Where the files of a model are that passed its examination."""
    return passed_run_from(tx.session.get_one(ModelRow, digest).run).artifact_address

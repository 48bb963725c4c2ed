"""What is written of vehicles' reports as evidence in the open rollout.

Only sums are kept, so that the cost of a report does not depend on how many came before it. A comparison reads the
vehicles that drove since the last one.
"""

from __future__ import annotations

import json
from collections.abc import Collection

import sqlalchemy as sa

from fleetloop.domain.sequential import tolerated_of
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.evidence import Assigned, Stretch, amount_of, conditions_of, refusal_of, scores_of
from rollout_controller.metrics import REFUSED_REPORTS
from rollout_controller.model import Cohort, Refusal, Report, RolloutPlan
from rollout_controller.store import CohortRow, DrivenRow, EvidenceRow, RefusedRow, RolloutRow, StretchRow, VehicleRow

_DAY_NS = seconds_to_ns(86_400)
DRIVEN_DAYS = 30
"""Days of which a forecast knows what the fleet drove."""


def record_evidence(
    tx: Transaction, vehicle: VehicleRow, report: Report, plan: RolloutPlan, now_utc_ns: int
) -> Refusal | None:
    """Count a report as evidence in the open rollout, if there is one; return why not, where it is refused.

    The caller has made sure that it is no repeat. Without an open rollout, the distance with the released model is
    noted for the forecast of the next one.
    """
    if report.km > 0:
        vehicle.drove_at_utc_ns = now_utc_ns
    rollout = queries.open_row(tx)
    if rollout is None or not rollout.previous:
        refusal = refusal_of(report, _outside(vehicle, now_utc_ns), plan)
        if refusal is None and report.assignment.active == queries.released(tx):
            _note_driven(tx, report, now_utc_ns)
        return None
    row = tx.session.get(EvidenceRow, (rollout.rollout_id, vehicle.vehicle_id, vehicle.cohort))
    cohort = _cohort(tx, rollout.rollout_id, vehicle.cohort)
    refusal = refusal_of(report, _assigned(vehicle, row, cohort, now_utc_ns), plan)
    if refusal is None and vehicle.vehicle_id in json.loads(rollout.barred):
        refusal = Refusal.BARRED
    could_not_load = refusal is Refusal.OTHER_MODEL and report.unusable
    if refusal is not None and not could_not_load:
        _refuse(tx, rollout.rollout_id, refusal)
        return refusal
    if row is None:
        row = _new_row(rollout.rollout_id, vehicle)
        tx.session.add(row)
    if could_not_load:
        row.faults += 1
        return None
    if row.assigned_at_utc_ns != vehicle.assigned_at_utc_ns:
        row.assigned_at_utc_ns, row.reported_s = vehicle.assigned_at_utc_ns, 0.0
    rollout.reports += 1
    had = row.decisions if vehicle.cohort == Cohort.SHADOW.value else row.km
    cohort.vehicles += had == 0 and amount_of(report) > 0
    cohort.km += report.km
    cohort.interventions += report.interventions
    cohort.decisions += report.decisions.total
    row.reported_s += report.window_s
    row.km += report.km
    row.interventions += report.interventions
    row.decisions += report.decisions.total
    row.prevented += report.decisions.prevented
    row.avoided += report.decisions.avoided
    row.missed += report.decisions.missed
    row.false_stops += report.decisions.false_stops
    row.faults += report.faults
    row.slow = row.slow or report.inference_p99_ms > plan.inference_p99_ms
    if rollout.stage == "canary" and (report.km or report.interventions):
        _extend(tx, rollout.rollout_id, vehicle, report, plan)
    if vehicle.cohort == Cohort.CONTROL.value:
        _note_driven(tx, report, now_utc_ns)
    return None


def _outside(vehicle: VehicleRow, now_utc_ns: int) -> Assigned:
    """A vehicle's assignment while no rollout is open: its distance is bounded by the window only."""
    for_s = ns_to_seconds(max(0, now_utc_ns - vehicle.assigned_at_utc_ns))
    return Assigned(queries.assignment_of(vehicle), for_s, 0.0)


def _cohort(tx: Transaction, rollout_id: str, name: str) -> CohortRow:
    row = tx.session.get(CohortRow, (rollout_id, name))
    if row is None:
        row = CohortRow(rollout_id=rollout_id, cohort=name, vehicles=0, km=0.0, interventions=0, decisions=0)
        tx.session.add(row)
    return row


def _assigned(vehicle: VehicleRow, row: EvidenceRow | None, cohort: CohortRow, now_utc_ns: int) -> Assigned:
    in_shadow = vehicle.cohort == Cohort.SHADOW.value
    is_same = row is not None and row.assigned_at_utc_ns == vehicle.assigned_at_utc_ns
    return Assigned(
        assignment=queries.assignment_of(vehicle),
        for_s=ns_to_seconds(max(0, now_utc_ns - vehicle.assigned_at_utc_ns)),
        reported_s=row.reported_s if row is not None and is_same else 0.0,
        amount=(row.decisions if in_shadow else row.km) if row is not None else 0.0,
        cohort_amount=cohort.decisions if in_shadow else cohort.km,
        cohort_vehicles=cohort.vehicles,
    )


def _new_row(rollout_id: str, vehicle: VehicleRow) -> EvidenceRow:
    return EvidenceRow(
        rollout_id=rollout_id, vehicle_id=vehicle.vehicle_id, cohort=vehicle.cohort,
        assigned_at_utc_ns=vehicle.assigned_at_utc_ns, reported_s=0.0, km=0.0, interventions=0, against=0.0,
        in_favour=0.0, unguarded=0.0, decisions=0, prevented=0, avoided=0, missed=0, false_stops=0, faults=0,
        slow=False,
    )  # fmt: skip


def _refuse(tx: Transaction, rollout_id: str, refusal: Refusal) -> None:
    REFUSED_REPORTS.labels(refusal.value).inc()
    row = tx.session.get(RefusedRow, (rollout_id, refusal.value))
    if row is None:
        tx.session.add(RefusedRow(rollout_id=rollout_id, refusal=refusal.value, count=1))
    else:
        row.count += 1


def _extend(tx: Transaction, rollout_id: str, vehicle: VehicleRow, report: Report, plan: RolloutPlan) -> None:
    key = (rollout_id, conditions_of(report, plan), vehicle.vehicle_id, vehicle.cohort)
    row = tx.session.get(StretchRow, key)
    if row is None:
        row = StretchRow(
            rollout_id=key[0], conditions=key[1], vehicle_id=key[2], cohort=key[3], km=0.0, interventions=0
        )
        tx.session.add(row)
    row.km += report.km
    row.interventions += report.interventions


def _note_driven(tx: Transaction, report: Report, now_utc_ns: int) -> None:
    if not report.km:
        return
    key = (report.assignment.active, now_utc_ns // _DAY_NS)
    row = tx.session.get(DrivenRow, key)
    if row is None:
        row = DrivenRow(digest=key[0], day=key[1], began_at_utc_ns=now_utc_ns, km=0.0, interventions=0)
        tx.session.add(row)
    row.km += report.km
    row.interventions += report.interventions


def compare(tx: Transaction, rollout_id: str, plan: RolloutPlan) -> int:
    """Compare what canaries and the other vehicles drove, wherever both drove enough; return how many comparisons."""
    tx.session.flush()
    tolerated = tolerated_of(queries.evidence_vehicles(tx, rollout_id), plan.lying_share)
    done = 0
    for conditions in _complete(tx, rollout_id, plan):
        together = tx.session.scalars(
            sa.select(StretchRow).where(StretchRow.rollout_id == rollout_id, StretchRow.conditions == conditions)
        ).all()
        stretches = [Stretch(Cohort(row.cohort), row.km, row.interventions) for row in together]
        done += 1
        for row, score in zip(together, scores_of(stretches, plan, tolerated), strict=True):
            if score.against or score.in_favour:
                vehicle = tx.session.get_one(EvidenceRow, (rollout_id, row.vehicle_id, row.cohort))
                vehicle.against += score.against
                vehicle.in_favour += score.in_favour
                vehicle.unguarded += score.unguarded
            tx.session.delete(row)
    return done


def _complete(tx: Transaction, rollout_id: str, plan: RolloutPlan) -> list[str]:
    """Conditions under which both sides drove enough. It depends on distances only, never on interventions."""
    sums = tx.session.execute(
        sa.select(StretchRow.conditions, StretchRow.cohort, sa.func.sum(StretchRow.km))
        .where(StretchRow.rollout_id == rollout_id)
        .group_by(StretchRow.conditions, StretchRow.cohort)
    )
    km = {(conditions, cohort): total for conditions, cohort, total in sums}
    sides = (Cohort.CANARY.value, Cohort.CONTROL.value)
    return [
        conditions
        for conditions in sorted({conditions for conditions, _ in km})
        if all(km.get((conditions, side), 0.0) >= plan.compare_every_km for side in sides)
    ]


def add_running_time(tx: Transaction, rollout_id: str, seconds: float) -> None:
    """Add to the time of the stage in which the controller ran and vehicles drove."""
    row = tx.session.get(RolloutRow, rollout_id)
    if row is not None:
        row.running_s += seconds


def forget_evidence(tx: Transaction, rollout_id: str) -> None:
    """Delete all evidence of a rollout, which is tried again from the beginning."""
    for table in (EvidenceRow, CohortRow, StretchRow, RefusedRow):
        tx.session.execute(sa.delete(table).where(table.rollout_id == rollout_id))


def forget_vehicles(tx: Transaction, rollout_id: str, vehicles: Collection[str]) -> None:
    """Delete all evidence that some vehicles gave in a rollout."""
    of_them = (EvidenceRow.rollout_id == rollout_id, EvidenceRow.vehicle_id.in_(vehicles))
    for row in tx.session.scalars(sa.select(EvidenceRow).where(*of_them)).all():
        cohort = _cohort(tx, rollout_id, row.cohort)
        had = row.decisions if row.cohort == Cohort.SHADOW.value else row.km
        cohort.vehicles -= had > 0
        cohort.km -= row.km
        cohort.interventions -= row.interventions
        cohort.decisions -= row.decisions
        tx.session.delete(row)
    tx.session.execute(
        sa.delete(StretchRow).where(StretchRow.rollout_id == rollout_id, StretchRow.vehicle_id.in_(vehicles))
    )


def prune_evidence(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Delete the evidence of at most `limit` vehicles in rollouts that began before `keep_s` and are not open.

    Returns how many rows were deleted.
    """
    old = sa.select(RolloutRow.rollout_id).where(
        ~RolloutRow.open, RolloutRow.began_at_utc_ns < now_utc_ns - seconds_to_ns(keep_s)
    )
    rows = tx.session.scalars(sa.select(EvidenceRow).where(EvidenceRow.rollout_id.in_(old)).limit(limit)).all()
    for row in rows:
        tx.session.delete(row)
    closed = sa.select(RolloutRow.rollout_id).where(~RolloutRow.open)
    stretches = tx.session.scalars(sa.select(StretchRow).where(StretchRow.rollout_id.in_(closed)).limit(limit)).all()
    for stretch in stretches:
        tx.session.delete(stretch)
    oldest_day = now_utc_ns // _DAY_NS - DRIVEN_DAYS
    tx.session.execute(sa.delete(DrivenRow).where(DrivenRow.day < oldest_day))
    return len(rows) + len(stretches)

"""What each vehicle is assigned to run, and how it learns of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.codec import fetch_command
from rollout_controller.core import assign, chosen_vehicles, must_sign_again
from rollout_controller.model import Cohort, RolloutPlan, SignedAssignment
from rollout_controller.store import VehicleRow
from rollout_controller.transactions.evidence import forget_vehicles


def reassign(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> int:
    """Update every vehicle's assignment and send a command to those whose assignment changed; return how many."""
    vehicles = tx.session.scalars(sa.select(VehicleRow).order_by(VehicleRow.vehicle_id)).all()
    heard_since = queries.heard_since_ns(plan, now_utc_ns)
    names = [
        vehicle.vehicle_id for vehicle in vehicles if vehicle.last_seen_utc_ns >= heard_since and not vehicle.revoked
    ]
    rollout = queries.open_rollout(tx)
    position = rollout.position if rollout else None
    rollout_id = rollout.rollout_id if rollout else queries.last_rollout_id(tx)
    candidate, driving = (rollout.digest if rollout else ""), queries.released(tx)
    members = frozenset(
        vehicle.vehicle_id
        for vehicle in vehicles
        if vehicle.rollout_id == rollout_id and vehicle.cohort != Cohort.CONTROL.value and not vehicle.revoked
    )
    parked = frozenset(vehicle.vehicle_id for vehicle in vehicles if _is_parked(vehicle, plan, now_utc_ns))
    barred = rollout.barred if rollout else frozenset()
    if rollout is not None and queries.held(tx, rollout):
        chosen = members - barred  # no vehicle gets the candidate while its rollout is held
    else:
        chosen = chosen_vehicles(names, position, rollout_id, plan, members, parked | barred)
    changed = 0
    for vehicle in vehicles:
        new = assign(vehicle.vehicle_id in chosen, position, rollout_id, candidate, driving)
        if queries.assignment_of(vehicle) == new:
            continue
        vehicle.active, vehicle.shadow = new.active, new.shadow
        vehicle.rollout_id, vehicle.cohort = new.rollout_id, new.cohort.value
        vehicle.version += 1
        vehicle.signed_at_utc_ns = vehicle.assigned_at_utc_ns = now_utc_ns
        changed += 1
        tx.publish(fetch_command(fleet_id, vehicle.vehicle_id, rollout_id, vehicle.version, now_utc_ns))
    return changed


def _is_parked(vehicle: VehicleRow, plan: RolloutPlan, now_utc_ns: int) -> bool:
    """True when a vehicle has not driven for long; one that was just chosen gets as long to begin."""
    since_ns = max(vehicle.drove_at_utc_ns, vehicle.assigned_at_utc_ns)
    return since_ns < now_utc_ns - seconds_to_ns(plan.parked_after_s)


def replace_parked(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> int:
    """Give the places of parked vehicles in the open rollout to vehicles that drive; return how many changed."""
    since_ns = now_utc_ns - seconds_to_ns(plan.parked_after_s)
    is_parked = sa.and_(VehicleRow.drove_at_utc_ns < since_ns, VehicleRow.assigned_at_utc_ns < since_ns)
    is_heard = VehicleRow.last_seen_utc_ns >= queries.heard_since_ns(plan, now_utc_ns)
    is_member = VehicleRow.cohort != Cohort.CONTROL.value
    wanted = sa.exists().where(is_member, is_heard, is_parked)
    offered = sa.exists().where(~is_member, is_heard, VehicleRow.drove_at_utc_ns >= since_ns)
    rollout = queries.open_rollout(tx)
    if rollout is None or queries.held(tx, rollout):
        return 0
    if not tx.session.scalar(sa.select(sa.and_(wanted, offered))):
        return 0
    return reassign(tx, fleet_id, plan, now_utc_ns)


def note_revoked(
    tx: Transaction, revoked: frozenset[str], fleet_id: str, plan: RolloutPlan, now_utc_ns: int
) -> list[str]:
    """Take revoked vehicles out of the open rollout, with all evidence that they gave; return those that are new.

    A vehicle that is enrolled again counts again, from then on.
    """
    for row in tx.session.scalars(sa.select(VehicleRow).where(VehicleRow.revoked)):
        row.revoked = row.vehicle_id in revoked
    new = []
    for some in batched(sorted(revoked), 500):
        rows = sa.select(VehicleRow).where(VehicleRow.vehicle_id.in_(some), ~VehicleRow.revoked)
        for row in tx.session.scalars(rows):
            row.revoked = True
            new.append(row.vehicle_id)
    rollout = queries.open_row(tx)
    if new and rollout is not None:
        forget_vehicles(tx, rollout.rollout_id, new)
        reassign(tx, fleet_id, plan, now_utc_ns)
    return new


def batched(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The names in pieces: a database takes only so many parameters."""
    for begin in range(0, len(names), size):
        yield names[begin : begin + size]


def record_contact(tx: Transaction, vehicle_id: str, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> VehicleRow:
    """The row of a vehicle that was just heard from. A vehicle that is new gets its assignment."""
    row = tx.session.get(VehicleRow, vehicle_id)
    if row is None:
        row = VehicleRow(
            vehicle_id=vehicle_id, version=1, signed_at_utc_ns=now_utc_ns, active="", shadow="", rollout_id="",
            cohort=Cohort.CONTROL.value, attested="", attested_boot=b"", attested_sequence=-1, attested_at_utc_ns=0,
            attested_until_utc_ns=0, last_seen_utc_ns=now_utc_ns, assigned_at_utc_ns=now_utc_ns, drove_at_utc_ns=0,
            revoked=False,
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
    row = record_contact(tx, vehicle_id, fleet_id, plan, now_utc_ns)
    if must_sign_again(row.signed_at_utc_ns, now_utc_ns):
        row.version += 1
        row.signed_at_utc_ns = now_utc_ns
    return SignedAssignment(queries.assignment_of(row), row.version, row.signed_at_utc_ns)

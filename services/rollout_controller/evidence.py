"""Pure decisions on evidence: which reports count, and what they say of a candidate.

A report counts when it matches what its vehicle was assigned, by the controller's own rows. The vehicle's clock
decides nothing: a report belongs to the time at which it arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from fleetloop.domain.sequential import Drove, Score, compare_rates
from rollout_controller.model import Assignment, Cohort, Refusal, Report, RolloutPlan

SLACK_S = 120.0
"""Seconds that vehicles may report of before their assignment: a window may have begun shortly before it."""
MOST_KM_PER_S = 0.1
MOST_INTERVENTIONS_PER_S = 1.0
MOST_DECISIONS_PER_S = 2.0
DECISIONS_IN_ADVANCE = 5
OTHER_CONDITIONS = ""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A vehicle's assignment, and what it has reported under it."""

    assignment: Assignment
    for_s: float
    """Seconds since it was assigned."""
    reported_s: float
    """Seconds that its reports under it cover."""
    amount: float = 0.0
    """What counts of it: distance, or decisions for a vehicle that runs the candidate in shadow."""
    cohort_amount: float = 0.0
    """The same of its whole cohort."""
    cohort_vehicles: int = 0
    """Vehicles of the cohort of which some amount counts."""


def refusal_of(report: Report, assigned: Assigned | None, plan: RolloutPlan) -> Refusal | None:
    """Why a report is no evidence; None when it is."""
    if assigned is None:
        return Refusal.UNKNOWN_VEHICLE
    said, known = report.assignment, assigned.assignment
    if said.rollout_id != known.rollout_id:
        return Refusal.OTHER_ROLLOUT
    if said.cohort is not known.cohort:
        return Refusal.OTHER_COHORT
    if (said.active, said.shadow) != (known.active, known.shadow):
        return Refusal.OTHER_MODEL
    if not _is_possible(report):
        return Refusal.IMPOSSIBLE
    if assigned.reported_s + report.window_s > (assigned.for_s + SLACK_S) * plan.vehicle_time_rate:
        return Refusal.TOO_LONG
    if amount_of(report) > 0 and assigned.amount + amount_of(report) > most_of(report, assigned, plan):
        return Refusal.ABOVE_SHARE
    return None


def _is_possible(report: Report) -> bool:
    window_s = report.window_s
    return (
        0 <= report.km <= MOST_KM_PER_S * (window_s + 1)
        and 0 <= report.interventions <= MOST_INTERVENTIONS_PER_S * (window_s + 1)
        and 0 <= report.decisions.total <= MOST_DECISIONS_PER_S * (window_s + 1)
        and report.decisions.better + report.decisions.worse <= report.decisions.total
    )


def amount_of(report: Report) -> float:
    """What a report adds to the evidence: distance, or decisions for a vehicle that runs the candidate in shadow."""
    return report.decisions.total if report.assignment.cohort is Cohort.SHADOW else report.km


def most_of(report: Report, assigned: Assigned, plan: RolloutPlan) -> float:
    """The amount of one vehicle that may count: a multiple of its cohort's mean, this report included.

    The first vehicles of a cohort are never held up, and everyone may have a small amount in advance.
    """
    vehicles = assigned.cohort_vehicles + (assigned.amount == 0)
    mean = (assigned.cohort_amount + amount_of(report)) / max(1, vehicles)
    in_advance = DECISIONS_IN_ADVANCE if report.assignment.cohort is Cohort.SHADOW else plan.compare_every_km
    return plan.most_share * mean + in_advance


def conditions_of(report: Report, plan: RolloutPlan) -> str:
    """The conditions under which a report is compared."""
    return report.conditions if report.conditions in plan.conditions else OTHER_CONDITIONS


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one vehicle drove since its conditions were last compared."""

    cohort: Cohort
    km: float
    interventions: int


def scores_of(stretches: Sequence[Stretch], plan: RolloutPlan, tolerated: int) -> list[Score]:
    """The evidence that each of the stretches gives, which were driven at one time under the same conditions."""
    drove = [Drove(each.cohort is Cohort.CANARY, each.km, each.interventions) for each in stretches]
    return compare_rates(drove, plan.worse_ratio, tolerated)


TIMES_AS_OFTEN = 2.0
"""Vehicles of a cohort may differ by this factor, because of their drivers and their routes."""
OUTLIER_P = 1e-6


@dataclass(frozen=True, slots=True)
class OfVehicle:
    """What one vehicle drove in a cohort."""

    vehicle_id: str
    km: float
    interventions: int


def outliers_of(most: Sequence[OfVehicle], km: float, interventions: int, tolerated: int) -> list[str]:
    """Vehicles of a cohort whose interventions cannot be the model's, because no other vehicle has nearly as many.

    A broken vehicle, or one that lies, must not hold up a good candidate. What many vehicles have in common is no
    outlier: at most `tolerated` vehicles are.

    Args:
        most: The vehicles with the most interventions of the cohort, at least `tolerated` of them.
        km: Distance of the whole cohort.
        interventions: Those of the whole cohort.
        tolerated: Number of vehicles that may lie.
    """
    found: list[str] = []
    left = sorted(most, key=lambda each: each.interventions, reverse=True)
    for each in left[:tolerated]:
        km, interventions = km - each.km, interventions - each.interventions
        if km <= 0:
            break
        expected = TIMES_AS_OFTEN * (interventions + 1) / km * max(each.km, km / 1000)
        if each.interventions and special.gammainc(each.interventions, expected) < OUTLIER_P:
            found.append(each.vehicle_id)
        else:
            km, interventions = km + each.km, interventions + each.interventions
    return found

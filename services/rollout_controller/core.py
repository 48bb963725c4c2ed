"""Pure decisions of a rollout: move forward, wait, roll back or withdraw; and what that means for each vehicle.

A candidate is rolled back by evidence against it, and moves forward by evidence in its favour. Having neither decides
nothing. Evidence may be looked at at any time and as often as one likes (fleetloop/domain/sequential.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fleetloop.domain.rates import rate_interval
from fleetloop.domain.sequential import Score, km_needed, needed
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import seconds_to_ns
from rollout_controller.model import (
    Assignment,
    Cohort,
    CohortTotals,
    Evidence,
    Move,
    Position,
    Rollout,
    RolloutPlan,
    Stage,
    Stop,
)

_DAY_S = 86_400.0
RESIGN_AFTER_S = _DAY_S
"""Metadata that expires after a week is signed again once it is this many seconds old."""


def must_sign_again(signed_at_utc_ns: int, now_utc_ns: int) -> bool:
    """True when metadata of this age has to be signed again, long before it expires."""
    return now_utc_ns - signed_at_utc_ns > seconds_to_ns(RESIGN_AFTER_S)


def is_late(sequence: int, last_sequence: int | None, until_utc_ns: int, last_until_utc_ns: int) -> bool:
    """True when a report of a vehicle is older than the newest one that is known.

    Reports of one boot are ordered by their sequence; `last_sequence` is None when the newest report is of another
    boot, and then the ends of the reports decide.
    """
    return until_utc_ns < last_until_utc_ns if last_sequence is None else sequence <= last_sequence


WAITS_FOR_APPROVAL = "waits for a release manager to approve the release"


def held_text(rollout: Rollout, stop: Stop | None) -> str:
    """Why a rollout may not move forward: it is paused, or all rollouts are stopped. Empty when it may."""
    if rollout.paused_by:
        return f"paused by {rollout.paused_by}: {rollout.pause_reason}"
    return stopped_text(stop) if stop is not None else ""


def stopped_text(stop: Stop) -> str:
    """Who stopped all rollouts, and why."""
    return f"all rollouts are stopped by {stop.by}: {stop.reason}"


def next_move(
    position: Position,
    plan: RolloutPlan,
    evidence: Evidence,
    approved_by: str = "",
    tries: int = 1,
    held: str = "",
) -> Move:
    """The next move of a rollout that is shadowing or in canary.

    It is rolled back by evidence against the candidate, goes on by evidence in its favour, and otherwise stays. A
    stage without a decision is extended, and the candidate is withdrawn when all extensions are used up. A canary
    with enough evidence that needs the approval of a person waits for it without a time limit, and is rolled back
    like any other when the evidence turns against it.

    Evidence against it that may come from only a few vehicles takes the candidate off the road as fast as any other.
    It is then tried again without these vehicles, and rolled back when that happens once too often.

    A rollout that is held (`held` says why) stays, but only as long as there is no evidence against its candidate:
    pausing must never keep a harmful model driving. One that would be tried again waits for a person to do so.
    """
    shadowing = position.stage is Stage.SHADOWING
    state = _shadow_text(evidence, plan) if shadowing else _canary_text(position, evidence, plan)
    against = _against(position, evidence, plan)
    if against:
        return Move(Stage.ROLLED_BACK, 0, (*against, *state))
    score = evidence.shadow_score if shadowing else evidence.score
    if score.unguarded >= against_needed(plan):
        # It must not go on driving. Whether the candidate is to blame is another question.
        return _doubted(tries, evidence, plan, state, held)
    if held:
        return Move(position.stage, position.canary_percent, (held, *state), stays=True)
    if score.in_favour >= in_favour_needed(position, plan):
        move = _next(position, plan, state)
        if move.stage is Stage.RELEASED and plan.needs_approval and not approved_by:
            return Move(position.stage, position.canary_percent, (WAITS_FOR_APPROVAL, *state), stays=True)
        return move
    used = extensions_used(position, plan)
    if used > plan.extensions:
        text = f"not decided after {_hours(position.running_s)} in which vehicles drove: withdrawn, not rolled back"
        return Move(Stage.WITHDRAWN, 0, (text, *state))
    waits = (_undecided(position, plan, evidence),) if used else _missing(position, evidence)
    return Move(position.stage, position.canary_percent, (*waits, *state), stays=True)


def _doubted(tries: int, evidence: Evidence, plan: RolloutPlan, state: tuple[str, ...], held: str) -> Move:
    few = f"{evidence.tolerated} vehicles may be the only source of the evidence against it"
    if tries > plan.extensions:
        return Move(Stage.ROLLED_BACK, 0, (f"{few}, for the {tries}. time", *state))
    names = ", ".join(evidence.suspects)
    text = f"{few}: {'a retry goes on' if held else 'tried again'} without {names}"
    reasons = (text, held, *state) if held else (text, *state)
    return Move(Stage.WITHDRAWN, 0, reasons, without=evidence.suspects)


def extensions_used(position: Position, plan: RolloutPlan) -> int:
    """How often a stage was extended: 0 while it is in time."""
    return int(position.running_s // plan.stage_max_s)


def _undecided(position: Position, plan: RolloutPlan, evidence: Evidence) -> str:
    used = extensions_used(position, plan)
    missing = "; ".join(_missing(position, evidence))
    return f"not decided after {_hours(position.running_s)}: extended {used} of {plan.extensions} times" + (
        f" ({missing})" if missing else ""
    )


def _missing(position: Position, evidence: Evidence) -> tuple[str, ...]:
    """What has to come before there can be evidence at all."""
    if position.stage is Stage.SHADOWING:
        return () if evidence.decisions.total else ("no decision of the candidate in shadow yet",)
    if not evidence.canary.km:
        return ("no canary has driven yet",)
    if not evidence.control.km:
        return ("no other vehicle has driven yet, with which canaries could be compared",)
    return ()


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def against_needed(plan: RolloutPlan) -> float:
    """Evidence, nats, that rolls a candidate back."""
    return needed(plan.false_rollback)


def in_favour_needed(position: Position, plan: RolloutPlan) -> float:
    """Evidence, nats, with which a stage is done. The last canary stage needs all of it, each one before its part."""
    enough = needed(plan.false_release)
    if position.stage is Stage.SHADOWING:
        return enough
    reached = sum(percent <= position.canary_percent for percent in plan.canary_percents)
    return enough * max(1, reached) / len(plan.canary_percents)


def _next(position: Position, plan: RolloutPlan, reasons: tuple[str, ...]) -> Move:
    for percent in plan.canary_percents:
        if percent > position.canary_percent:
            return Move(Stage.CANARY, percent, reasons)
    return Move(Stage.RELEASED, 100, reasons)


def _against(position: Position, evidence: Evidence, plan: RolloutPlan) -> tuple[str, ...]:
    shadowing = position.stage is Stage.SHADOWING
    watched, score = (evidence.shadow, evidence.shadow_score) if shadowing else (evidence.canary, evidence.score)
    reasons = []
    if score.against >= against_needed(plan):
        what = "is wrong more often than the released model" if shadowing else "has more interventions per km"
        reasons.append(f"it {what}: odds of {_odds(score.against)} to 1, {_odds(against_needed(plan))} are needed")
    for name, count, others in (
        ("report faults of the model", watched.faulty, evidence.control.faulty),
        (
            f"need more than {plan.inference_p99_ms:.0f} ms for an inference (p99)",
            watched.slow,
            evidence.control.slow,
        ),
    ):
        if _is_its_own(count, watched, others, evidence, plan):
            reasons.append(f"{count} of {watched.vehicles} vehicles {name}")
    return tuple(reasons)


def _is_its_own(count: int, watched: CohortTotals, others: int, evidence: Evidence, plan: RolloutPlan) -> bool:
    """True when enough vehicles have what the others do not have as often, even if some of them lie."""
    least = min(plan.fault_vehicles, max(1, watched.vehicles, evidence.members))
    if count - evidence.tolerated < least:
        return False
    control = evidence.control.vehicles
    return others * watched.vehicles < (count - evidence.tolerated) * control if control else True


def _odds(nats: float) -> str:
    return f"{min(math.exp(min(nats, 700.0)), 1e6):.3g}"


def _balance(score: Score, plan: RolloutPlan, enough: float) -> str:
    return (
        f"evidence in its favour {_odds(score.in_favour)} of {_odds(enough)}, "
        f"against it {_odds(score.against)} of {_odds(against_needed(plan))}"
    )


def _shadow_text(evidence: Evidence, plan: RolloutPlan) -> tuple[str, ...]:
    decisions = evidence.decisions
    return (
        _balance(evidence.shadow_score, plan, needed(plan.false_release)),
        f"{decisions.total} decisions in shadow: would have prevented {decisions.prevented} interventions and "
        f"{decisions.avoided} false stops, would have missed {decisions.missed} stops and made "
        f"{decisions.false_stops} false ones",
    )


def _canary_text(position: Position, evidence: Evidence, plan: RolloutPlan) -> tuple[str, ...]:
    return (
        _balance(evidence.score, plan, in_favour_needed(position, plan)),
        f"canary {_rate_text(evidence.canary)}",
        f"control {_rate_text(evidence.control)}",
    )


def _rate_text(totals: CohortTotals) -> str:
    low, high = rate_interval(totals.interventions, totals.km / 100)
    rate = 100 * totals.interventions / totals.km if totals.km else 0.0
    return (
        f"{totals.interventions} interventions in {totals.km:.1f} km, {rate:.2f} per 100 km [{low:.2f}, {high:.2f}]"
    )


@dataclass(frozen=True, slots=True)
class Driven:
    """What vehicles drove with the released model."""

    km: float
    interventions: int
    over_s: float
    """Seconds since the first report of it."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a rollout needs, as far as the fleet's past tells."""

    km: float
    """Distance that canaries have to drive until nine of ten good candidates are released."""
    days: float
    """Days that it takes at the present rate; infinite when it never comes."""
    is_known: bool
    """True when the past is at least a day long, so that it has all times of day."""


def forecast_of(driven: Driven | None, plan: RolloutPlan) -> Forecast | None:
    """What the rollout of a good candidate needs; None without a past."""
    if driven is None or driven.km <= 0:
        return None
    share = plan.canary_percents[-1] / 100
    km = km_needed(driven.interventions / driven.km, share, plan.worse_ratio, plan.false_release)
    km_per_day = driven.km * share * _DAY_S / max(driven.over_s, 1.0)
    return Forecast(km, km / km_per_day, driven.over_s >= _DAY_S)


def forecast_text(forecast: Forecast | None, plan: RolloutPlan) -> str:
    """The forecast in words."""
    if forecast is None:
        return "nothing is known yet of how far the fleet drives, and how often drivers intervene"
    if math.isinf(forecast.km):
        return "drivers never intervened so far: without interventions no distance decides"
    return (
        f"needs about {forecast.km:.0f} km of canaries to refute that it is {plan.worse_ratio:g} times as bad, "
        f"{_days(forecast.days)} at the fleet's present rate"
    )


def _days(days: float) -> str:
    return f"{days:.1f} days" if days >= 1 else f"{24 * days:.1f} h"


def cannot_deliver(forecast: Forecast | None, plan: RolloutPlan) -> bool:
    """True when the fleet cannot decide on a good candidate before the last extension ends.

    A fleet without interventions so far may have some, and less than a day says little about the next ones: neither
    is refused.
    """
    if forecast is None or not forecast.is_known or math.isinf(forecast.km):
        return False
    return forecast.days * _DAY_S > plan.stage_max_s * (1 + plan.extensions)


def shuffled(vehicles: Sequence[str], rollout_id: str) -> list[str]:
    """The vehicles in an order that is random between rollouts and always the same for one rollout."""
    return sorted(vehicles, key=lambda vehicle: causal_id("order", rollout_id, vehicle))


def share_of(
    vehicles: Sequence[str],
    rollout_id: str,
    percent: int,
    members: frozenset[str] = frozenset(),
    parked: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """`percent` of the vehicles, rounded up: those that drive before parked ones, members before others.

    A larger share contains every smaller one.
    """
    count = -(-len(vehicles) * percent // 100)
    order = shuffled(vehicles, rollout_id)
    order.sort(key=lambda vehicle: (vehicle in parked, vehicle not in members))  # stable: each part keeps its order
    return frozenset(order[:count])


def chosen_vehicles(
    vehicles: Sequence[str],
    position: Position | None,
    rollout_id: str,
    plan: RolloutPlan,
    members: frozenset[str] = frozenset(),
    parked: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """The vehicles that a rollout has chosen at its stage: to run the candidate in shadow, or to drive as canaries.

    `vehicles` are those that are heard from. A member stays one as long as the share has room, since otherwise a new
    vehicle would replace a canary. Members that fell silent keep their assignment and do not count towards the share.
    """
    if position is None:
        return frozenset()
    percent = plan.shadow_percent if position.stage is Stage.SHADOWING else position.canary_percent
    return share_of(vehicles, rollout_id, percent, members, parked) | (members - frozenset(vehicles))


def assign(chosen: bool, position: Position | None, rollout_id: str, candidate: str, released: str) -> Assignment:
    """What a vehicle is assigned to run while `candidate` is at `position`; None means that no rollout is open."""
    if chosen and position is not None and position.stage is Stage.SHADOWING:
        return Assignment(released, candidate, rollout_id, Cohort.SHADOW)
    if chosen and position is not None and position.stage is Stage.CANARY:
        return Assignment(candidate, "", rollout_id, Cohort.CANARY)
    return Assignment(released, "", rollout_id, Cohort.CONTROL)

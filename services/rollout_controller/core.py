"""Pure decisions of a rollout: go on, wait, or come back; and what that means for each vehicle.

A candidate comes back as soon as the evidence against it is strong, goes on when there is enough evidence and none
against it, and comes back when enough evidence never came.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetloop.domain.rates import p_rate_is_higher, rate_interval
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import ns_to_seconds
from rollout_controller.model import (
    Assignment,
    Cohort,
    Evidence,
    Move,
    RolloutPlan,
    Stage,
    Standing,
    Totals,
)


def advance(standing: Standing, plan: RolloutPlan, evidence: Evidence, now_utc_ns: int) -> Move:
    """The next move of a rollout that is shadowing or in canary."""
    watched = evidence.shadow if standing.stage is Stage.SHADOWING else evidence.canary
    against = _against(watched, plan)
    if standing.stage is Stage.SHADOWING:
        against += _shadow_against(watched, plan)
        enough = watched.shadow_frames >= plan.shadow_frames
        state = _shadow_text(watched, plan)
    else:
        against += _canary_against(evidence, plan)
        wanted_km = _wanted_km(standing, plan)
        enough = watched.km >= wanted_km and evidence.control.km > 0
        state = _canary_text(evidence, wanted_km)
    if against:
        return Move(Stage.ROLLED_BACK, 0, (*against, *state))
    if enough:
        return _next(standing, plan, state)
    waited_s = ns_to_seconds(now_utc_ns - standing.stage_began_at_utc_ns)
    if waited_s > plan.stage_max_s:
        text = f"not enough evidence after {waited_s:.0f} s"
        return Move(Stage.ROLLED_BACK, 0, (text, *state))
    return Move(standing.stage, standing.canary_percent, state, stays=True)


def _wanted_km(standing: Standing, plan: RolloutPlan) -> float:
    """What the canary stages so far want together: the evidence is summed since the rollout began."""
    return plan.canary_km * max(1, sum(percent <= standing.canary_percent for percent in plan.canary_percents))


def _next(standing: Standing, plan: RolloutPlan, reasons: tuple[str, ...]) -> Move:
    for percent in plan.canary_percents:
        if percent > standing.canary_percent:
            return Move(Stage.CANARY, percent, reasons)
    return Move(Stage.RELEASED, 100, reasons)


def _against(watched: Totals, plan: RolloutPlan) -> tuple[str, ...]:
    reasons = []
    if watched.faults > plan.faults:
        reasons.append(f"{watched.faults} faults, at most {plan.faults} are allowed")
    if watched.inference_p99_ms > plan.inference_p99_ms:
        reasons.append(
            f"inference p99 {watched.inference_p99_ms:.1f} ms, at most {plan.inference_p99_ms:.1f} is allowed"
        )
    return tuple(reasons)


def _shadow_against(shadow: Totals, plan: RolloutPlan) -> tuple[str, ...]:
    if shadow.shadow_frames < plan.shadow_frames:
        return ()
    rate = 1000 * shadow.false_alarms / shadow.shadow_frames
    if rate <= plan.shadow_false_alarms_per_1000:
        return ()
    return (
        f"{rate:.2f} vain stops a thousand silent frames, at most {plan.shadow_false_alarms_per_1000} are allowed",
    )


def _canary_against(evidence: Evidence, plan: RolloutPlan) -> tuple[str, ...]:
    canary, control = evidence.canary, evidence.control
    p = p_rate_is_higher(canary.interventions, canary.km, control.interventions, control.km)
    if p >= plan.worse_p:
        return ()
    return (f"interventions are more frequent than with the released model (p = {p:.4f})",)


def _shadow_text(shadow: Totals, plan: RolloutPlan) -> tuple[str, ...]:
    return (
        f"{shadow.shadow_frames} of {plan.shadow_frames} silent frames: would have prevented "
        f"{shadow.would_have_prevented} interventions, called {shadow.false_alarms} vain stops",
    )


def _canary_text(evidence: Evidence, wanted_km: float) -> tuple[str, ...]:
    return (
        f"canary {_rate_text(evidence.canary)} (at least {wanted_km:.0f} km wanted)",
        f"control {_rate_text(evidence.control)}",
    )


def _rate_text(totals: Totals) -> str:
    low, high = rate_interval(totals.interventions, totals.km / 100)
    rate = 100 * totals.interventions / totals.km if totals.km else 0.0
    return (
        f"{totals.interventions} interventions in {totals.km:.1f} km, {rate:.2f} per 100 km [{low:.2f}, {high:.2f}]"
    )


def order_of(vehicles: Sequence[str], rollout_id: str) -> list[str]:
    """The vehicles in an order that chance gave this rollout, the same whoever asks and however often."""
    return sorted(vehicles, key=lambda vehicle: causal_id("order", rollout_id, vehicle))


def share_of(
    vehicles: Sequence[str], rollout_id: str, percent: int, members: frozenset[str] = frozenset()
) -> frozenset[str]:
    """So many percent of the vehicles, rounded up, members first: a larger share holds every smaller one."""
    count = -(-len(vehicles) * percent // 100)
    order = order_of(vehicles, rollout_id)
    order.sort(key=lambda vehicle: vehicle not in members)  # stable: each part keeps its order
    return frozenset(order[:count])


def chosen_of(
    vehicles: Sequence[str],
    standing: Standing | None,
    rollout_id: str,
    plan: RolloutPlan,
    members: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """The vehicles that a rollout has chosen at its stage: to shadow, or to drive as canaries.

    `vehicles` are those that are heard from. Whoever is a member stays one as long as the share has room, or one that
    is new would send another one back; members that fell silent keep what they have and take nobody's place.
    """
    if standing is None:
        return frozenset()
    percent = plan.shadow_percent if standing.stage is Stage.SHADOWING else standing.canary_percent
    return share_of(vehicles, rollout_id, percent, members) | (members - frozenset(vehicles))


def assign(chosen: bool, standing: Standing | None, rollout_id: str, candidate: str, released: str) -> Assignment:
    """What a vehicle is meant to run while `candidate` stands where it stands; `standing` None: no rollout."""
    if chosen and standing is not None and standing.stage is Stage.SHADOWING:
        return Assignment(released, candidate, rollout_id, Cohort.SHADOW)
    if chosen and standing is not None and standing.stage is Stage.CANARY:
        return Assignment(candidate, "", rollout_id, Cohort.CANARY)
    return Assignment(released, "", rollout_id, Cohort.CONTROL)

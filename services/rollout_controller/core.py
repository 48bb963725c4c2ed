"""Pure decisions of a rollout: move forward, wait, or roll back; and what that means for each vehicle.

A candidate is rolled back as soon as the evidence against it is strong, moves forward when there is enough evidence
and none against it, and is rolled back when enough evidence did not come in time.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetloop.domain.rates import p_rate_is_higher, rate_interval
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from rollout_controller.model import (
    Assignment,
    Cohort,
    Evidence,
    Move,
    Position,
    RolloutPlan,
    Stage,
    Totals,
)

RESIGN_AFTER_S = 86_400.0
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


def next_move(
    position: Position, plan: RolloutPlan, evidence: Evidence, now_utc_ns: int, approved_by: str = ""
) -> Move:
    """The next move of a rollout that is shadowing or in canary.

    A canary with enough evidence that still needs the approval of a person waits for it without a time limit, and is
    rolled back like any other when the evidence turns against it.
    """
    watched = evidence.shadow if position.stage is Stage.SHADOWING else evidence.canary
    against = _against(watched, plan)
    if position.stage is Stage.SHADOWING:
        against += _shadow_against(watched, plan)
        enough = watched.shadow_frames >= plan.shadow_frames
        state = _shadow_text(watched, plan)
    else:
        against += _canary_against(evidence, plan)
        required_km = _required_km(position, plan)
        enough = watched.km >= required_km and evidence.control.km > 0
        state = _canary_text(evidence, required_km)
    if against:
        return Move(Stage.ROLLED_BACK, 0, (*against, *state))
    if enough:
        move = _next(position, plan, state)
        if move.stage is Stage.RELEASED and plan.needs_approval and not approved_by:
            return Move(position.stage, position.canary_percent, (WAITS_FOR_APPROVAL, *state), stays=True)
        return move
    waited_s = ns_to_seconds(now_utc_ns - position.stage_began_at_utc_ns)
    if waited_s > plan.stage_max_s:
        text = f"not enough evidence after {waited_s:.0f} s"
        return Move(Stage.ROLLED_BACK, 0, (text, *state))
    return Move(position.stage, position.canary_percent, state, stays=True)


def _required_km(position: Position, plan: RolloutPlan) -> float:
    """Distance that the canary stages so far require together: the evidence is summed since the rollout began."""
    return plan.canary_km * max(1, sum(percent <= position.canary_percent for percent in plan.canary_percents))


def _next(position: Position, plan: RolloutPlan, reasons: tuple[str, ...]) -> Move:
    for percent in plan.canary_percents:
        if percent > position.canary_percent:
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
        f"{rate:.2f} false stops per 1,000 shadow frames, at most {plan.shadow_false_alarms_per_1000} are allowed",
    )


def _canary_against(evidence: Evidence, plan: RolloutPlan) -> tuple[str, ...]:
    canary, control = evidence.canary, evidence.control
    p = p_rate_is_higher(canary.interventions, canary.km, control.interventions, control.km)
    if p >= plan.worse_p:
        return ()
    return (f"interventions are more frequent than with the released model (p = {p:.4f})",)


def _shadow_text(shadow: Totals, plan: RolloutPlan) -> tuple[str, ...]:
    return (
        f"{shadow.shadow_frames} of {plan.shadow_frames} shadow frames: would have prevented "
        f"{shadow.would_have_prevented} interventions, called for {shadow.false_alarms} false stops",
    )


def _canary_text(evidence: Evidence, required_km: float) -> tuple[str, ...]:
    return (
        f"canary {_rate_text(evidence.canary)} (at least {required_km:.0f} km required)",
        f"control {_rate_text(evidence.control)}",
    )


def _rate_text(totals: Totals) -> str:
    low, high = rate_interval(totals.interventions, totals.km / 100)
    rate = 100 * totals.interventions / totals.km if totals.km else 0.0
    return (
        f"{totals.interventions} interventions in {totals.km:.1f} km, {rate:.2f} per 100 km [{low:.2f}, {high:.2f}]"
    )


def shuffled(vehicles: Sequence[str], rollout_id: str) -> list[str]:
    """The vehicles in an order that is random between rollouts and always the same for one rollout."""
    return sorted(vehicles, key=lambda vehicle: causal_id("order", rollout_id, vehicle))


def share_of(
    vehicles: Sequence[str], rollout_id: str, percent: int, members: frozenset[str] = frozenset()
) -> frozenset[str]:
    """`percent` of the vehicles, rounded up, members first: a larger share contains every smaller one."""
    count = -(-len(vehicles) * percent // 100)
    order = shuffled(vehicles, rollout_id)
    order.sort(key=lambda vehicle: vehicle not in members)  # stable: each part keeps its order
    return frozenset(order[:count])


def chosen_vehicles(
    vehicles: Sequence[str],
    position: Position | None,
    rollout_id: str,
    plan: RolloutPlan,
    members: frozenset[str] = frozenset(),
) -> frozenset[str]:
    """The vehicles that a rollout has chosen at its stage: to run the candidate in shadow, or to drive as canaries.

    `vehicles` are those that are heard from. A member stays one as long as the share has room, since otherwise a new
    vehicle would replace a canary. Members that fell silent keep their assignment and do not count towards the share.
    """
    if position is None:
        return frozenset()
    percent = plan.shadow_percent if position.stage is Stage.SHADOWING else position.canary_percent
    return share_of(vehicles, rollout_id, percent, members) | (members - frozenset(vehicles))


def assign(chosen: bool, position: Position | None, rollout_id: str, candidate: str, released: str) -> Assignment:
    """What a vehicle is assigned to run while `candidate` is at `position`; None means that no rollout is open."""
    if chosen and position is not None and position.stage is Stage.SHADOWING:
        return Assignment(released, candidate, rollout_id, Cohort.SHADOW)
    if chosen and position is not None and position.stage is Stage.CANARY:
        return Assignment(candidate, "", rollout_id, Cohort.CANARY)
    return Assignment(released, "", rollout_id, Cohort.CONTROL)

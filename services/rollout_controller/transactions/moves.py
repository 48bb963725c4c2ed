"""How a rollout moves: the stage of its model, the announcement, and the assignments of the vehicles."""

from __future__ import annotations

import json

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.tracing import span
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.core import cannot_deliver, forecast_of, forecast_text
from rollout_controller.lifecycle import Actor, Event, State, allows, event_to, next_state, state_of
from rollout_controller.model import Move, Position, Rollout, RolloutPlan, Stage
from rollout_controller.store import ModelRow, RolloutRow
from rollout_controller.transactions.announcements import announce
from rollout_controller.transactions.assignments import reassign
from rollout_controller.transactions.evidence import forget_evidence

log = get_logger(__name__)
FORWARD = (Event.BEGIN, Event.PROMOTE, Event.RELEASE)
"""What does not happen to a rollout that is held."""


def begin_next(tx: Transaction, fleet_id: str, plan: RolloutPlan, now_utc_ns: int) -> Rollout | None:
    """Begin the rollout of the newest published candidate when none is open; older candidates are passed over.

    The fleet's first model is released at once: there is no model to compare it with.
    """
    candidate = queries.next_candidate(tx)
    if candidate is None:
        return None
    previous = queries.released(tx)
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
        running_s=0.0,
        reports=0,
        tries=1,
        barred="[]",
        approved_by="",
        paused_by="",
        pause_reason="",
    )
    tx.session.add(row)
    tx.session.flush()
    carry_out(tx, row, _first_move(tx, previous, plan, now_utc_ns), fleet_id, plan, now_utc_ns)
    return queries.rollout_of(row)


def _first_move(tx: Transaction, previous: str, plan: RolloutPlan, now_utc_ns: int) -> Move:
    if not previous:
        return Move(Stage.RELEASED, 100, ("the first model: there is none to compare it with",))
    forecast = forecast_of(queries.driven(tx, previous, now_utc_ns), plan)
    text = forecast_text(forecast, plan)
    if cannot_deliver(forecast, plan):
        return Move(
            Stage.WITHDRAWN,
            0,
            (
                f"the plan cannot be carried out: {text}, later than stage_max_s with all extensions",
                "raise canary_percents, worse_ratio or stage_max_s in config/rollout.yaml, and try it again",
            ),
        )
    return Move(Stage.SHADOWING, 0, (f"runs in shadow on {plan.shadow_percent} % of the vehicles", text))


def move_rollout(
    tx: Transaction,
    rollout_id: str,
    seen: Position,
    move: Move,
    fleet_id: str,
    plan: RolloutPlan,
    now_utc_ns: int,
) -> bool:
    """Carry out a move that was decided at the position `seen`; False when the rollout moved or was held since."""
    row = queries.open_row(tx)
    if row is None or row.rollout_id != rollout_id:
        return False
    now = queries.rollout_of(row)
    if (now.position.stage, now.position.canary_percent, now.position.stage_began_at_utc_ns) != (
        seen.stage, seen.canary_percent, seen.stage_began_at_utc_ns,
    ):  # fmt: skip
        return False
    if move.stays:
        row.reasons = json.dumps(list(move.reasons))
        return True
    is_held = bool(queries.held(tx, now))
    event = event_to(move.stage)
    if not allows(row_state(row), event, Actor.CONTROLLER) or (is_held and event in FORWARD):
        return False
    carry_out(tx, row, move, fleet_id, plan, now_utc_ns)
    if move.without:
        row.barred = json.dumps(sorted({*json.loads(row.barred), *move.without}))
        if not is_held:
            begin_again(tx, row, "the controller", Actor.CONTROLLER, fleet_id, plan, now_utc_ns)
    return True


def begin_again(
    tx: Transaction,
    rollout: RolloutRow,
    by: str,
    actor: Actor,
    fleet_id: str,
    plan: RolloutPlan,
    now_utc_ns: int,
) -> None:
    """Begin an ended rollout again in shadow, without the evidence of its earlier tries."""
    forget_evidence(tx, rollout.rollout_id)
    rollout.previous, rollout.tries = queries.released(tx), rollout.tries + 1
    rollout.began_at_utc_ns, rollout.last_attested_at_utc_ns = now_utc_ns, 0
    rollout.reports, rollout.approved_by = 0, ""
    reason = f"tried again by {by}: runs in shadow on {plan.shadow_percent} % of the vehicles"
    carry_out(
        tx, rollout, Move(Stage.SHADOWING, 0, (reason,)), fleet_id, plan, now_utc_ns, event=Event.RETRY, actor=actor
    )
    log.info("rollout_tried_again", rollout_id=rollout.rollout_id, by=by, tries=rollout.tries)


def carry_out(
    tx: Transaction,
    rollout: RolloutRow,
    move: Move,
    fleet_id: str,
    plan: RolloutPlan,
    now_utc_ns: int,
    *,
    event: Event | None = None,
    actor: Actor = Actor.CONTROLLER,
) -> None:
    """Move a rollout: the model's stage, its announcement, and the assignments of the vehicles that it concerns.

    Raises FailedPreconditionError when the table of transitions does not have the move.
    """
    after = next_state(row_state(rollout), event or event_to(move.stage), actor)
    if after is not state_of(move.stage, paused=False):
        raise ValueError(f"the table leads to {after.value}, and the move to {move.stage.value}")
    model = tx.session.get_one(ModelRow, rollout.digest)
    with span("rollout-controller moves", parent=model.traceparent, attributes={"stage": move.stage.value}):
        if move.stage is Stage.RELEASED:
            for old in tx.session.scalars(sa.select(ModelRow).where(ModelRow.stage == Stage.RELEASED.value)):
                old.stage = Stage.REGISTERED.value
        model.stage = move.stage.value
        rollout.stage, rollout.canary_percent = move.stage.value, move.canary_percent
        rollout.reasons = json.dumps(list(move.reasons))
        rollout.stage_began_at_utc_ns, rollout.running_s = now_utc_ns, 0.0
        rollout.open = move.stage in (Stage.SHADOWING, Stage.CANARY)
        rollout.paused_by = rollout.pause_reason = ""
        tx.session.flush()
        announce(
            tx, model, move.stage, move.canary_percent, rollout.rollout_id, rollout.previous, move.reasons, now_utc_ns
        )
        reassign(tx, fleet_id, plan, now_utc_ns)


def row_state(rollout: RolloutRow) -> State:
    """Where a rollout is, as the table of transitions names it."""
    return state_of(Stage(rollout.stage), bool(rollout.paused_by))

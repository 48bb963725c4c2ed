"""What people do about rollouts. The table of transitions says when an action is possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.refusal import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from fleetloop.kit.storage.database import Transaction
from rollout_controller import queries
from rollout_controller.codec import passed_run_from
from rollout_controller.core import stopped_text
from rollout_controller.lifecycle import Actor, Event, next_state
from rollout_controller.model import Move, Rollout, RolloutPlan, Stage, Stop
from rollout_controller.store import ModelRow, RolloutRow, StopRow
from rollout_controller.transactions.assignments import reassign
from rollout_controller.transactions.moves import begin_again, carry_out, row_state

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Action:
    """Who does something about rollouts, why and when."""

    by: str
    """The person, as kind/name."""
    reason: str
    fleet_id: str
    plan: RolloutPlan
    now_utc_ns: int


def act(tx: Transaction, event: Event, rollout_id: str, action: Action) -> Rollout:
    """Carry out an action of a person on one rollout.

    Raises InvalidArgumentError without a reason, NotFoundError, FailedPreconditionError when the state of the rollout
    does not allow it, and PermissionDeniedError when this person may not approve.
    """
    _check_reason(action)
    row = tx.session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFoundError("no such rollout", "rollout_id", "`fleetloop rollouts list` has them all")
    next_state(row_state(row), event, Actor.PERSON)
    _ACTIONS[event](tx, row, action)
    log.info("rollout_action", rollout_id=rollout_id, action=event.value, by=action.by, reason=action.reason)
    return queries.rollout_of(row)


def _check_reason(action: Action) -> None:
    if not action.reason.strip():
        raise InvalidArgumentError("is empty", "reason", "say why; it is recorded with your name")


def _approve(tx: Transaction, row: RolloutRow, action: Action) -> None:
    """Record that a person approves the release. The evidence still decides when it is released."""
    if not action.plan.needs_approval:
        raise FailedPreconditionError(
            "releases need no approval here", "rollout_id", "set second_person.releases in config/access.yaml"
        )
    if passed_run_from(tx.session.get_one(ModelRow, row.digest).run).started_by == action.by:
        raise PermissionDeniedError(
            f"{action.by} started the training run of this model; another person has to approve it"
        )
    if not row.approved_by:
        row.approved_by = action.by


def _pause(tx: Transaction, row: RolloutRow, action: Action) -> None:
    """Hold a rollout where it is. Its time stands still, and evidence against its candidate still ends it."""
    row.paused_by, row.pause_reason = action.by, action.reason


def _resume(tx: Transaction, row: RolloutRow, action: Action) -> None:
    row.paused_by = row.pause_reason = ""
    tx.session.flush()
    reassign(tx, action.fleet_id, action.plan, action.now_utc_ns)


def _abort(tx: Transaction, row: RolloutRow, action: Action) -> None:
    """End an open rollout without a verdict: its samples are not used up."""
    _end(tx, row, action, Move(Stage.WITHDRAWN, 0, (f"aborted by {action.by}: {action.reason}",)), Event.ABORT)


def _roll_back(tx: Transaction, row: RolloutRow, action: Action) -> None:
    """Roll back a candidate, or the released model to the one before it."""
    move = Move(Stage.ROLLED_BACK, 0, (f"by {action.by}: {action.reason}",))
    if row.open:
        _end(tx, row, action, move, Event.ROLL_BACK)
        return
    if queries.released(tx) != row.digest:
        raise FailedPreconditionError(
            "its model does not drive any more: another one was released after it", "rollout_id",
            "roll back the rollout of the model that drives",
        )  # fmt: skip
    if not row.previous:
        raise FailedPreconditionError("no model was released before it", "rollout_id", "train a better one")
    compared, is_held = queries.open_row(tx), False
    if compared is not None:
        text = "the model that it was compared with was rolled back"
        withdrawn = Move(Stage.WITHDRAWN, 0, (f"{text} by {action.by}: {action.reason}",))
        is_held = bool(queries.held(tx, queries.rollout_of(compared)))
        carry_out(tx, compared, withdrawn, action.fleet_id, action.plan, action.now_utc_ns)
    tx.session.get_one(ModelRow, row.previous).stage = Stage.RELEASED.value
    _end(tx, row, action, move, Event.ROLL_BACK)
    if compared is not None and not is_held:
        begin_again(
            tx, compared, f"the controller, since {text}", Actor.CONTROLLER, action.fleet_id, action.plan,
            action.now_utc_ns,
        )  # fmt: skip


def _end(tx: Transaction, row: RolloutRow, action: Action, move: Move, event: Event) -> None:
    carry_out(tx, row, move, action.fleet_id, action.plan, action.now_utc_ns, event=event, actor=Actor.PERSON)


def _retry(tx: Transaction, row: RolloutRow, action: Action) -> None:
    """Begin a rollout again that was withdrawn or rolled back, without the evidence of its earlier tries."""
    if queries.open_row(tx) is not None:
        raise FailedPreconditionError("another rollout is open", "rollout_id", "wait until it ends, or abort it")
    stop = queries.stop(tx)
    if stop is not None:
        raise FailedPreconditionError(stopped_text(stop), "rollout_id", "use `fleetloop rollouts resume --all`")
    if not tx.session.get_one(ModelRow, row.digest).published:
        raise FailedPreconditionError(
            "its model was refused before it reached a vehicle", "rollout_id", "train it again"
        )
    begin_again(
        tx, row, f"{action.by}: {action.reason}", Actor.PERSON, action.fleet_id, action.plan, action.now_utc_ns
    )


_ACTIONS: Mapping[Event, Callable[[Transaction, RolloutRow, Action], None]] = {
    Event.APPROVE: _approve,
    Event.PAUSE: _pause,
    Event.RESUME: _resume,
    Event.ABORT: _abort,
    Event.ROLL_BACK: _roll_back,
    Event.RETRY: _retry,
}


def stop_all(tx: Transaction, action: Action) -> Stop:
    """Let no rollout begin or move forward until all are resumed; what drives stays where it is.

    Raises InvalidArgumentError without a reason, and FailedPreconditionError when all are stopped already.
    """
    _check_reason(action)
    known = queries.stop(tx)
    if known is not None:
        raise FailedPreconditionError(
            stopped_text(known), remedy="`fleetloop rollouts resume --all` lets them move again"
        )
    tx.session.add(StopRow(number=1, stopped_by=action.by, reason=action.reason, at_utc_ns=action.now_utc_ns))
    log.warning("rollouts_stopped", by=action.by, reason=action.reason)
    return Stop(action.by, action.reason, action.now_utc_ns)


def resume_all(tx: Transaction, action: Action) -> None:
    """Let rollouts begin and move forward again; a rollout that is paused by itself stays paused.

    Raises InvalidArgumentError without a reason, and FailedPreconditionError when rollouts are not stopped.
    """
    _check_reason(action)
    row = tx.session.get(StopRow, 1)
    if row is None:
        raise FailedPreconditionError("rollouts are not stopped", remedy="see `fleetloop rollouts list`")
    tx.session.delete(row)
    tx.session.flush()
    reassign(tx, action.fleet_id, action.plan, action.now_utc_ns)
    log.warning("rollouts_resumed", by=action.by, reason=action.reason)

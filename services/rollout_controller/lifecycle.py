"""The life of a rollout as one table: which event is possible in which state, where it leads, and who may cause it.

Core, transactions and the errors that people read decide by this table. Pausing is a state of its own: a paused
rollout is not promoted, and evidence against its candidate still takes it off the road.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleetloop.kit.refusal import FailedPreconditionError
from rollout_controller.model import Rollout, Stage


class State(StrEnum):
    """Where a rollout is: its stage, and whether a person has paused it."""

    NEW = "new"
    SHADOWING = "in shadow"
    SHADOWING_PAUSED = "paused in shadow"
    CANARY = "in canary"
    CANARY_PAUSED = "paused in canary"
    RELEASED = "released"
    ROLLED_BACK = "rolled back"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can happen to a rollout."""

    BEGIN = "begin"
    PROMOTE = "promote"
    """The next canary stage."""
    RELEASE = "release"
    ROLL_BACK = "roll back"
    """A verdict: by evidence against the candidate, or by a person."""
    WITHDRAW = "withdraw"
    """The controller ends it without a verdict."""
    ABORT = "abort"
    """A person ends it without a verdict."""
    RETRY = "retry"
    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"


class Actor(StrEnum):
    """Who may cause an event."""

    CONTROLLER = "the controller"
    PERSON = "a person"


@dataclass(frozen=True, slots=True)
class Transition:
    """Where an event leads, and who may cause it."""

    next: State
    actors: tuple[Actor, ...]


_CONTROLLER, _PERSON, _BOTH = (Actor.CONTROLLER,), (Actor.PERSON,), (Actor.CONTROLLER, Actor.PERSON)

TRANSITIONS: Final[Mapping[tuple[State, Event], Transition]] = {
    (state, event): Transition(following, actors)
    for state, event, following, actors in (
        (State.NEW, Event.BEGIN, State.SHADOWING, _CONTROLLER),
        (State.NEW, Event.RELEASE, State.RELEASED, _CONTROLLER),  # a fleet's first model
        (State.NEW, Event.WITHDRAW, State.WITHDRAWN, _CONTROLLER),  # the fleet cannot carry the plan out in time
        (State.SHADOWING, Event.PROMOTE, State.CANARY, _CONTROLLER),
        (State.SHADOWING, Event.PAUSE, State.SHADOWING_PAUSED, _PERSON),
        (State.SHADOWING, Event.ROLL_BACK, State.ROLLED_BACK, _BOTH),
        (State.SHADOWING, Event.WITHDRAW, State.WITHDRAWN, _CONTROLLER),
        (State.SHADOWING, Event.ABORT, State.WITHDRAWN, _PERSON),
        (State.SHADOWING_PAUSED, Event.RESUME, State.SHADOWING, _PERSON),
        (State.SHADOWING_PAUSED, Event.ROLL_BACK, State.ROLLED_BACK, _BOTH),
        (State.SHADOWING_PAUSED, Event.WITHDRAW, State.WITHDRAWN, _CONTROLLER),
        (State.SHADOWING_PAUSED, Event.ABORT, State.WITHDRAWN, _PERSON),
        (State.CANARY, Event.PROMOTE, State.CANARY, _CONTROLLER),
        (State.CANARY, Event.RELEASE, State.RELEASED, _CONTROLLER),
        (State.CANARY, Event.APPROVE, State.CANARY, _PERSON),
        (State.CANARY, Event.PAUSE, State.CANARY_PAUSED, _PERSON),
        (State.CANARY, Event.ROLL_BACK, State.ROLLED_BACK, _BOTH),
        (State.CANARY, Event.WITHDRAW, State.WITHDRAWN, _CONTROLLER),
        (State.CANARY, Event.ABORT, State.WITHDRAWN, _PERSON),
        (State.CANARY_PAUSED, Event.APPROVE, State.CANARY_PAUSED, _PERSON),
        (State.CANARY_PAUSED, Event.RESUME, State.CANARY, _PERSON),
        (State.CANARY_PAUSED, Event.ROLL_BACK, State.ROLLED_BACK, _BOTH),
        (State.CANARY_PAUSED, Event.WITHDRAW, State.WITHDRAWN, _CONTROLLER),
        (State.CANARY_PAUSED, Event.ABORT, State.WITHDRAWN, _PERSON),
        (State.RELEASED, Event.ROLL_BACK, State.ROLLED_BACK, _PERSON),
        (State.ROLLED_BACK, Event.RETRY, State.SHADOWING, _PERSON),
        (State.WITHDRAWN, Event.RETRY, State.SHADOWING, _BOTH),  # the controller: without vehicles that may have lied
    )
}
"""Every transition that there is."""

_STATES: Final[Mapping[tuple[Stage, bool], State]] = {
    (Stage.REGISTERED, False): State.NEW,
    (Stage.SHADOWING, False): State.SHADOWING,
    (Stage.SHADOWING, True): State.SHADOWING_PAUSED,
    (Stage.CANARY, False): State.CANARY,
    (Stage.CANARY, True): State.CANARY_PAUSED,
    (Stage.RELEASED, False): State.RELEASED,
    (Stage.ROLLED_BACK, False): State.ROLLED_BACK,
    (Stage.WITHDRAWN, False): State.WITHDRAWN,
}
_EVENTS: Final[Mapping[Stage, Event]] = {
    Stage.SHADOWING: Event.BEGIN,
    Stage.CANARY: Event.PROMOTE,
    Stage.RELEASED: Event.RELEASE,
    Stage.ROLLED_BACK: Event.ROLL_BACK,
    Stage.WITHDRAWN: Event.WITHDRAW,
}


def state_of(stage: Stage, paused: bool) -> State:
    """The state of a rollout at a stage."""
    return _STATES[stage, paused]


def event_to(stage: Stage) -> Event:
    """The event by which the controller moves a rollout to a stage."""
    return _EVENTS[stage]


def allows(state: State, event: Event, actor: Actor) -> bool:
    """True when the table has the transition for this actor."""
    transition = TRANSITIONS.get((state, event))
    return transition is not None and actor in transition.actors


def next_state(state: State, event: Event, actor: Actor) -> State:
    """Where an event leads. Raises FailedPreconditionError, which names what is possible instead."""
    if not allows(state, event, actor):
        possible = [other.value for other in _possible(state, actor)]
        raise FailedPreconditionError(
            f"the rollout is {state.value}, which does not allow {actor.value} to `{event.value}`",
            "rollout_id",
            f"possible now: {', '.join(possible)}" if possible else f"{actor.value} can change it no more",
        )
    return TRANSITIONS[state, event].next


def possible_events(rollout: Rollout) -> list[Event]:
    """What a person can do about a rollout now, as far as its state decides it."""
    return _possible(state_of(rollout.position.stage, bool(rollout.paused_by)), Actor.PERSON)


def _possible(state: State, actor: Actor) -> list[Event]:
    return [event for (at, event), each in TRANSITIONS.items() if at is state and actor in each.actors]

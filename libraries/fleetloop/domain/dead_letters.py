"""Messages that services set aside: how they are named, and what operators decided about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.message import DecodeError

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.topics import DEAD_LETTER
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event, header
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.messaging.topics import DLQ_SUFFIX
from fleetloop.protos.deadletter.v1 import deadletter_pb2


class DeadLetterState(StrEnum):
    """The outcome of a message in a dead-letter queue."""

    OPEN = "open"
    RETRIED = "retried"
    DISCARDED = "discarded"


_STATES = {
    deadletter_pb2.ACTION_RETRIED: DeadLetterState.RETRIED,
    deadletter_pb2.ACTION_DISCARDED: DeadLetterState.DISCARDED,
}
_ACTIONS = {state: action for action, state in _STATES.items()}


@dataclass(frozen=True, slots=True)
class DeadLetterId:
    """Where a message is: the topic that it was read from, and its position in that topic's dead-letter queue."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> DeadLetterId:
        """The id in `<topic>/<partition>/<offset>`. Raises ValueError for any other text."""
        topic, partition, offset = [*text.split("/"), "", ""][:3]
        if text.count("/") != 2 or not topic or not _is_number(partition) or not _is_number(offset):
            raise ValueError(f"{text!r} is not <topic>/<partition>/<offset>, such as fleet.clip.v1/0/12")
        return cls(topic, int(partition), int(offset))

    @property
    def queue(self) -> str:
        """Name of the dead-letter queue."""
        return self.topic + DLQ_SUFFIX

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message in a dead-letter queue. Everything but the id is what its headers say."""

    id: DeadLetterId
    record: Record
    service: str
    reason: str
    error_type: str
    error: str
    attempts: int
    origin: str
    """Where it was first: `<topic>/<partition>/<offset>`."""
    state: DeadLetterState = DeadLetterState.OPEN
    by: str = ""
    """Who decided about it, as kind/name."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an operator decided about a message."""

    id: DeadLetterId
    state: DeadLetterState
    by: str
    reason: str
    at_utc_ns: int


def dead_letter_of(record: Record, decisions: Mapping[DeadLetterId, Decision]) -> DeadLetter:
    """A message of a dead-letter queue, with the newest decision about it. Headers that are missing are empty."""
    where = DeadLetterId(record.topic.removesuffix(DLQ_SUFFIX), record.partition, record.offset)

    def text(name: str) -> str:
        # The newest header of that name: the message may have brought its own.
        return next((header([(k, v)], name) or "" for k, v in reversed(record.headers) if k == name), "")

    attempts = text("attempts")
    decision = decisions.get(where)
    return DeadLetter(
        id=where,
        record=record,
        service=text("dead_lettered_by"),
        reason=text("reason"),
        error_type=text("error_type"),
        error=text("error"),
        attempts=int(attempts) if _is_number(attempts) else 0,
        origin="/".join(text(f"origin_{name}") for name in ("topic", "partition", "offset")),
        state=decision.state if decision is not None else DeadLetterState.OPEN,
        by=decision.by if decision is not None else "",
        why=decision.reason if decision is not None else "",
    )


def decisions_in(records: Iterable[Record]) -> dict[DeadLetterId, Decision]:
    """The newest decision about each message, from records of fleet.deadletter.v1; unreadable ones are left out."""
    found: dict[DeadLetterId, Decision] = {}
    for record in records:
        try:
            message = parse(deadletter_pb2.DeadLetterHandled, record)
        except (UnreadableMessageError, DecodeError):
            continue
        state = _STATES.get(message.action)
        if state is not None:
            where = DeadLetterId(message.topic, message.partition, message.offset)
            found[where] = Decision(where, state, message.by, message.reason, message.at_utc_ns)
    return found


def decision_event(decision: Decision) -> Event:
    """The event that records a decision."""
    message = deadletter_pb2.DeadLetterHandled(
        topic=decision.id.topic,
        partition=decision.id.partition,
        offset=decision.id.offset,
        action=_ACTIONS[decision.state],
        by=decision.by,
        reason=decision.reason,
        at_utc_ns=decision.at_utc_ns,
    )
    event_id = causal_id("deadletter", str(decision.id), decision.state.value, decision.at_utc_ns)
    return event_of(DEAD_LETTER, str(decision.id), event_id, message, decision.at_utc_ns)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19

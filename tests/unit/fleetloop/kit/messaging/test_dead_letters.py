"""A message that fails is tried once more, by itself, and then set aside; an outage sets nothing aside."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.messaging.dead_letters import ATTEMPTS, process_or_set_aside
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError

RECORD = Record("fleet.x.v1", 0, 7, b"car", b"v", [], 0)


class DeadLetters:
    def __init__(self) -> None:
        self.received: list[tuple[str, int]] = []

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.received.append((type(error).__name__, attempts))


class Work:
    """Fails with the given errors, one per call, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, record: Record) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "handled"


@pytest.mark.parametrize(
    ("errors", "outcome", "calls", "received"),
    [
        ([], "handled", 1, []),
        ([KeyError("a race")], "handled", 2, []),
        ([KeyError("x"), ValueError("y")], "dead", 2, [("ValueError", 2)]),
        ([UnreadableMessageError("no protobuf")], "dead", 1, [("UnreadableMessageError", 1)]),
        ([KeyError("x"), UnreadableMessageError("y")], "dead", 2, [("UnreadableMessageError", 2)]),
        ([MessageSizeTooLargeError(), MessageSizeTooLargeError()], "dead", 2, [("MessageSizeTooLargeError", 2)]),
    ],
)
async def test_a_failing_message_is_tried_once_more_and_then_set_aside(
    errors: list[Exception], outcome: str, calls: int, received: list[tuple[str, int]]
) -> None:
    work, dead = Work(*errors), DeadLetters()
    assert await process_or_set_aside(RECORD, work, dead) == outcome
    assert (work.calls, dead.received) == (calls, received)


async def test_the_attempt_that_failed_among_others_counts() -> None:
    work, dead = Work(KeyError("x"), KeyError("x")), DeadLetters()
    assert await process_or_set_aside(RECORD, work, dead, earlier_attempts=1) == "dead"
    assert (work.calls, dead.received) == (1, [("KeyError", 2)])


ERRORS = st.sampled_from(
    [KeyError("x"), UnreadableMessageError("y"), KafkaConnectionError("gone"), OSError(28, "full")]
)


@given(st.lists(ERRORS, max_size=4))
async def test_a_message_is_handled_or_set_aside_unless_there_is_an_outage(errors: list[Exception]) -> None:
    work, dead = Work(*errors), DeadLetters()
    try:
        outcome = await process_or_set_aside(RECORD, work, dead)
    except (KafkaConnectionError, OSError):
        assert dead.received == []
    else:
        assert (outcome == "dead") == bool(dead.received)
    assert work.calls <= ATTEMPTS

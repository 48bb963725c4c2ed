"""Messages in dead-letter queues have a name, and the newest decision about each counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.dead_letters import (
    DeadLetterId,
    DeadLetterState,
    Decision,
    dead_letter_of,
    decision_event,
    decisions_in,
)
from fleetloop.kit.messaging.dead_letters import RETRIED_FOR, is_for_another, retry_headers
from fleetloop.kit.messaging.producer import Record

ID = DeadLetterId("fleet.clip.v1", 0, 7)
HEADERS: list[tuple[str, bytes | None]] = [
    ("ce_id", b"e"),
    ("error", b"the sender's own"),
    ("ce_time", None),
    ("origin_topic", b"fleet.clip.v1"),
    ("origin_partition", b"2"),
    ("origin_offset", b"40"),
    ("dead_lettered_by", b"label-router"),
    ("reason", b"failed"),
    ("error_type", b"KeyError"),
    ("error", b"'Id'"),
    ("attempts", b"4"),
]


def letter(headers: list[tuple[str, bytes | None]]) -> Record:
    return Record("fleet.clip.v1.dlq", 0, 7, b"car", b"v", headers, 0)


def kept(decision: Decision, offset: int = 0) -> Record:
    return Record("fleet.deadletter.v1", 0, offset, b"k", decision_event(decision).payload, [], 0)


def test_headers_say_what_happened_and_the_newest_of_a_name_counts() -> None:
    found = dead_letter_of(letter(HEADERS), {})
    assert (found.id, found.service, found.reason) == (ID, "label-router", "failed")
    assert found.origin == "fleet.clip.v1/2/40"
    assert (found.error_type, found.error, found.attempts) == ("KeyError", "'Id'", 4)
    assert found.state is DeadLetterState.OPEN


@given(st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=9))))
def test_a_message_with_any_headers_can_be_listed(headers: list[tuple[str, bytes | None]]) -> None:
    assert dead_letter_of(letter(headers), {}).id == ID


def test_the_newest_decision_counts_and_unreadable_ones_do_not() -> None:
    retried = Decision(ID, DeadLetterState.RETRIED, "user/ann", "fixed", 5)
    discarded = Decision(ID, DeadLetterState.DISCARDED, "user/bob", "noise", 6)
    rubbish = Record("fleet.deadletter.v1", 0, 9, b"k", b"\xff", [], 0)
    decisions = decisions_in([kept(retried), kept(discarded, 1), rubbish])
    assert decisions == {ID: discarded}
    found = dead_letter_of(letter(HEADERS), decisions)
    assert (found.state, found.by, found.why) == (DeadLetterState.DISCARDED, "user/bob", "noise")


@pytest.mark.parametrize(
    "text", ["", "a", "a/b", "a/1", "/1/2", "a/1/2/3", "a/-1/2", "a/1/x", f"a/1/{10**19}", "a/1/²"]
)
def test_a_text_that_names_no_message_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as fleet\.clip\.v1/0/12"):
        DeadLetterId.parse(text)
    assert DeadLetterId.parse(str(ID)) == ID


def test_a_retry_keeps_the_attempts_and_is_only_for_the_service_that_set_the_message_aside() -> None:
    headers = retry_headers(HEADERS)
    assert headers == [("ce_id", b"e"), ("ce_time", None), ("attempts", b"4"), (RETRIED_FOR, b"label-router")]
    retry = Record("fleet.clip.v1", 0, 50, b"car", b"v", headers, 0)
    assert is_for_another(retry, "campaign-keeper")
    assert not is_for_another(retry, "label-router")
    assert not is_for_another(letter(HEADERS), "campaign-keeper")
    assert not is_for_another(letter([]), "campaign-keeper")
    again = retry_headers([*headers, ("dead_lettered_by", b"label-router"), ("error", b"x")])
    assert [name for name, _ in again].count(RETRIED_FOR) == 1

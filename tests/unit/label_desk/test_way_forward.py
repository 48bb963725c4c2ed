"""Every open task ends by itself or is offered to somebody, whatever its labellers did before they left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.label_desk.test_transactions import MOST, S, answer, created, published

from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.storage.database import Database
from label_desk import queries, transactions
from label_desk.model import Assignment, Outcome, Source, Vote
from label_desk.store import Base, TaskRow


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def test_undoing_a_dissenting_vote_leaves_a_decided_task_decided(database: Database) -> None:
    """Its author closes the laptop after the undo; the other two still agree."""
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    for author, choice, now in (("ann", "plain", 10), ("ben", "none", 11), ("cat", "plain", 12)):
        outcome = answer(database, author, choice, now * S)
    assert outcome is Outcome.AGREED
    database.run_now(lambda tx: transactions.undo(tx, "t1", "ben", 120, MOST, 13 * S, 0.9))
    assert database.run_now(lambda tx: transactions.end_decided(tx, 16 * S, 0.9)) == 0
    assert database.run_now(lambda tx: transactions.end_decided(tx, 17 * S, 0.9)) == 1
    (label,) = published(database)
    assert {vote.author for vote in label.votes} == {"ann", "cat"}


def test_undoing_a_deciding_vote_opens_the_task_for_others(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    for author in ("ann", "ben"):
        answer(database, author, "plain", 10 * S)
    database.run_now(lambda tx: transactions.undo(tx, "t1", "ben", 60, MOST, 13 * S, 0.9))
    assert database.run_now(lambda tx: transactions.end_decided(tx, 60 * S, 0.9)) == 0
    assert answer(database, "cat", "plain", 80 * S) is Outcome.AGREED


@pytest.mark.parametrize("sources", [[], ["model"], ["sensor"]])
def test_a_task_that_names_no_source_that_is_asked_is_for_people(database: Database, sources: list[str]) -> None:
    task = replace(created(), sources=frozenset(map(Source, sources)))
    database.run_now(lambda tx: transactions.create_task(tx, task))
    assert answer(database, "ann", "plain") is None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answer", "answer", "answer", "lease", "undo", "release", "wait", "hindsight"]),
        st.sampled_from("abcde"),
        st.sampled_from(["plain", "none", ""]),
        st.integers(0, 90),
    ),
    max_size=25,
)


@given(EVENTS, st.integers(1, 3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_open_task_has_a_way_forward_whatever_happened(
    events: list[tuple[str, str, str, int]], agreement: int, hindsight: bool
) -> None:
    """After the events everybody leaves. The task then ends by itself, or is offered to people who come new."""
    database = Database("sqlite://", Base)
    Base.metadata.create_all(database.engine)
    run = database.run_now
    task = replace(created(hindsight=hindsight), agreement=agreement)
    run(lambda tx: transactions.create_task(tx, task))
    now, held = 10, dict[str, Assignment]()

    def lease(author: str) -> Assignment | None:
        found = run(lambda tx: transactions.lease_next(tx, author, "", 60, MOST, now * S))
        if found is not None:
            held[author] = found
        return found

    def vote(author: str, choice: str) -> None:
        found = held.pop(author, None) or lease(author)
        if found is not None:
            answers = {"stop_sign": choice} if choice else {}
            ids = (found.task.task_id, found.lease.lease_id)
            run(lambda tx: transactions.submit(tx, *ids, answers, author, now * S, 0.9, 5))

    for what, author, choice, seconds in events:
        now += 1
        with contextlib.suppress(RefusedError):
            if what == "answer":
                vote(author, choice)
            elif what == "lease":
                lease(author)
            elif what == "undo":
                held[author] = run(lambda tx: transactions.undo(tx, "t1", author, 60, MOST, now * S, 0.9))  # noqa: B023
            elif what == "release" and author in held:
                lease_id = held.pop(author).lease.lease_id
                run(lambda tx: transactions.release(tx, "t1", author, lease_id))  # noqa: B023
            elif what == "hindsight":
                guess = Vote("hindsight", Source.HINDSIGHT, {"stop_sign": "plain"}, seconds / 90, now * S)
                run(lambda tx: transactions.submit_automatic(tx, "t1", guess, now * S, 0.9))  # noqa: B023
            elif what == "wait":
                now += seconds
                run(partial(transactions.end_decided, now_utc_ns=now * S, automatic_bound=0.9))
    run(lambda tx: transactions.submit_automatic(tx, "t1", None, now * S, 0.9))  # hindsight runs by itself
    held.clear()
    for newcomer in range(2 * agreement + 8):
        now += 100
        run(partial(transactions.end_decided, now_utc_ns=now * S, automatic_bound=0.9))
        if run(lambda tx: tx.session.get_one(TaskRow, "t1").outcome):
            break
        assert lease(f"new-{newcomer}") is not None, "an open task is offered"
        vote(f"new-{newcomer}", "plain")
    else:
        raise AssertionError("the task is stuck")
    database.close()


def test_a_clock_that_was_ahead_holds_up_no_decided_task(database: Database) -> None:
    """The clock was 80 s ahead while people answered, and stepped back: the task would end 80 s late."""
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    for author in ("ann", "ben"):
        answer(database, author, "plain", 90 * S)

    def ended(now_s: int, window_s: float | None) -> int:
        return database.run_now(lambda tx: transactions.end_decided(tx, now_s * S, 0.9, undo_window_s=window_s))

    assert database.read_now(lambda tx: queries.has_decided(tx, 11 * S, 5.0))
    assert ended(91, 5.0) == 0, "the undo window is not over yet"
    assert ended(11, None) == 0
    assert ended(11, 5.0) == 1
    (label,) = published(database)
    assert dict(label.answers) == {"stop_sign": "plain"}

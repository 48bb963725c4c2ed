"""People check a share of the automatic answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.label_desk.test_transactions import MOST, S, answer, created, database, published

from fleetloop.kit.storage.database import Database
from fleetloop.protos.label.v1 import label_pb2
from label_desk import transactions
from label_desk.model import Source, Vote

__all__ = ["database"]


def by_hindsight(database: Database, task_id: str, *, audit: bool, choice: str = "held") -> None:
    guess = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": choice}, 0.97, 11)
    database.run_now(lambda tx: transactions.create_task(tx, created(task_id, hindsight=True)))
    database.run_now(
        lambda tx: transactions.submit_automatic(tx, task_id, guess, 11, 0.9, audit=lambda vote, audits: audit)
    )


def checked(database: Database) -> tuple[int, int]:
    found = database.run_now(lambda tx: transactions.audits_of(tx, Source.HINDSIGHT))
    return found.agreed, found.checked


def test_an_answer_that_people_check_does_not_decide_and_is_compared_with_theirs(database: Database) -> None:
    by_hindsight(database, "t1", audit=True)
    assert published(database) == []
    answer(database, "ann", "none")
    assert published(database) == [] and checked(database) == (0, 0)
    answer(database, "ben", "none")
    assert database.run_now(lambda tx: transactions.end_decided(tx, 60 * S, 0.9)) == 1
    (event,) = published(database)
    assert (event.source, dict(event.answers)) == (label_pb2.LABEL_SOURCE_HUMAN, {"stop_sign": "none"})
    assert checked(database) == (0, 1)
    by_hindsight(database, "t2", audit=True)
    for author in ("ann", "ben"):
        answer(database, author, "held", 70 * S, "t2")
    database.run_now(lambda tx: transactions.end_decided(tx, 99 * S, 0.9))
    assert checked(database) == (1, 2)
    by_hindsight(database, "t3", audit=False)
    assert checked(database) == (1, 2) and len(published(database)) == 3


def test_only_the_newest_checked_answers_count(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "AUDITS_KEPT", 3)
    for number in range(5):
        by_hindsight(database, f"t{number}", audit=True, choice="held" if number > 1 else "plain")
        for author in ("ann", "ben"):
            answer(database, author, "held", (100 * number + 20) * S, f"t{number}")
        database.run_now(lambda tx, n=number: transactions.end_decided(tx, (100 * n + 60) * S, 0.9))  # type: ignore[misc]
    assert checked(database) == (3, 3), "the two wrong answers are forgotten"


def test_a_project_without_people_asks_people_about_what_they_check(database: Database) -> None:
    task = replace(created("t1", hindsight=True), sources=frozenset({Source.HINDSIGHT}))
    database.run_now(lambda tx: transactions.create_task(tx, task))
    guess = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "held"}, 0.97, 11)
    ended = database.run_now(
        lambda tx: transactions.submit_automatic(tx, "t1", guess, 11, 0.9, audit=lambda vote, audits: True)
    )
    assert ended is None
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 12)) is not None

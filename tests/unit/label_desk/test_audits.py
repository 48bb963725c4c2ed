"""People check a share of the automatic answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.label_desk.test_transactions import MOST, S, answer, created, database, published

from fleetloop.kit.storage.database import Database
from fleetloop.protos.label.v1 import label_pb2
from label_desk import queries, transactions
from label_desk.codec import task_of
from label_desk.core import Audits, CheckPolicy, check_of
from label_desk.model import Check, Source, Vote
from label_desk.store import AuditRow

__all__ = ["database"]


def by_hindsight(
    database: Database, task_id: str, *, audit: bool, choice: str = "held", vehicle: str = "",
    check: Check = Check.OF_SOURCE,
) -> None:  # fmt: skip
    guess = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": choice}, 0.97, 11)
    event = label_pb2.LabelTaskCreated.FromString(created(task_id, hindsight=True).event)
    event.provenance.vehicle_id = vehicle
    database.run_now(lambda tx: transactions.create_task(tx, task_of(event)))
    found = check if audit else Check.NONE
    database.run_now(lambda tx: transactions.submit_automatic(tx, task_id, guess, 11, 0.9, check=lambda *_: found))


def checked_by_people(database: Database, number: int, vehicle: str, *, right: bool, check: Check) -> None:
    """People answer "held" to a task that hindsight answered, correctly or not."""
    task_id = f"{vehicle}-{number}"
    by_hindsight(database, task_id, audit=True, choice="held" if right else "plain", vehicle=vehicle, check=check)
    for author in ("ann", "ben"):
        answer(database, author, "held", (100 * number + 20) * S, task_id)
    database.run_now(lambda tx: transactions.end_decided(tx, (100 * number + 60) * S, 0.9))


def of_vehicle(database: Database, vehicle: str) -> tuple[int, int]:
    found = database.read_now(lambda tx: queries.vehicle_audits_of(tx, Source.HINDSIGHT, vehicle))
    return found.agreed, found.checked


def checked(database: Database) -> tuple[int, int]:
    found = database.run_now(lambda tx: queries.audits_of(tx, Source.HINDSIGHT))
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
        lambda tx: transactions.submit_automatic(tx, "t1", guess, 11, 0.9, check=lambda *_: Check.OF_SOURCE)
    )
    assert ended is None
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 12)) is not None


def test_what_people_found_is_kept_by_vehicle(database: Database) -> None:
    for number in range(3):
        checked_by_people(database, number, "liar", right=False, check=Check.OF_SOURCE)
        checked_by_people(database, 10 + number, "honest", right=True, check=Check.OF_SOURCE)
    assert (of_vehicle(database, "liar"), of_vehicle(database, "honest")) == ((0, 3), (3, 3))
    assert (of_vehicle(database, "unknown"), checked(database)) == ((0, 0), (3, 6))
    sources, vehicles = database.read_now(queries.agreements)
    assert [(each.source, each.vehicle_id) for each in sources] == [(Source.HINDSIGHT, "")]
    assert [each.vehicle_id for each in vehicles] == ["liar", "honest"], "the most contradicted first"
    _, one = database.read_now(lambda tx: queries.agreements(tx, "honest"))
    assert [each.vehicle_id for each in one] == ["honest"]


def test_a_refuted_vehicle_does_not_stop_its_source_and_can_be_cleared(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "VEHICLE_AUDITS_KEPT", 5)
    for number in range(9):
        checked_by_people(database, number, "liar", right=False, check=Check.OF_VEHICLE)
    assert (of_vehicle(database, "liar"), checked(database)) == ((0, 5), (0, 0))
    assert database.read_now(lambda tx: tx.session.query(AuditRow).count()) == 5, "memory is bounded for each vehicle"
    for number in range(9, 14):
        checked_by_people(database, number, "liar", right=True, check=Check.OF_VEHICLE)
    assert of_vehicle(database, "liar") == (5, 5)


GUESS = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "held"}, 0.97, 11)
NEVER, ALWAYS = 1.0, 0.0
TRUSTED, REFUTED = Audits(20, 20), Audits(0, 3)


@pytest.mark.parametrize(
    ("vote", "chance", "of_source", "of_vehicle", "check"),
    [
        (GUESS, NEVER, TRUSTED, TRUSTED, Check.NONE),
        (GUESS, NEVER, Audits(), Audits(1, 1), Check.NONE),
        (GUESS, NEVER, TRUSTED, Audits(), Check.OF_SOURCE),
        (GUESS, ALWAYS, TRUSTED, TRUSTED, Check.OF_SOURCE),
        (GUESS, NEVER, REFUTED, TRUSTED, Check.OF_SOURCE),
        (GUESS, NEVER, TRUSTED, REFUTED, Check.OF_VEHICLE),
        (GUESS, ALWAYS, REFUTED, REFUTED, Check.OF_VEHICLE),
        (replace(GUESS, answers={}), ALWAYS, REFUTED, REFUTED, Check.NONE),
    ],
)
def test_which_answers_people_check(
    vote: Vote, chance: float, of_source: Audits, of_vehicle: Audits, check: Check
) -> None:
    assert check_of(vote, chance, of_source, of_vehicle, CheckPolicy(0.1, 0.9, 1)) is check


@pytest.mark.parametrize(
    ("agreed", "checked", "may_decide"),
    [(0, 0, True), (0, 1, True), (0, 2, True), (0, 3, False), (1, 3, True), (40, 50, True), (38, 50, False)],
)
def test_a_source_is_stopped_by_evidence_and_not_by_a_share(agreed: int, checked: int, may_decide: bool) -> None:
    assert Audits(agreed, checked).may_decide(0.9) is may_decide


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_interval_of_an_agreement_has_its_share_and_narrows_with_checks(agreed: int, differed: int) -> None:
    total = agreed + differed
    low, high = Audits(agreed, total).interval()
    assert 0 <= low <= high <= 1
    if total:
        assert low <= agreed / total <= high
        more_low, more_high = Audits(10 * agreed, 10 * total).interval()
        assert low <= more_low and more_high <= high

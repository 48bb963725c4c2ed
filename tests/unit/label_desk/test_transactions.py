from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stages import stage_seconds

from fleetloop.kit.refusal import RefusedError, ResourceExhaustedError
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from label_desk import queries, transactions
from label_desk.codec import task_of
from label_desk.model import Assignment, Outcome, ProjectProgress, Source, Task, Vote
from label_desk.store import Base, LeaseRow, OutboxRow, TaskRow, VoteRow

S = 10**9
MOST = 100
"""Open tasks of one labeller; the tests of the limit have their own."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def created(task_id: str = "t1", hindsight: bool = False, priority: int = 0) -> Task:
    sources = [label_pb2.LABEL_SOURCE_HINDSIGHT] * hindsight + [label_pb2.LABEL_SOURCE_HUMAN]
    created = label_pb2.LabelTaskCreated(
        task_id=task_id,
        project="stop-signs",
        dataset="town",
        task="stop_sign",
        sources=sources,
        clip_address="x",
        agreement=2,
        priority=priority,
        created_at_utc_ns=1,
        provenance=provenance_pb2.Provenance(sample_id=f"sample-{task_id}"),
    )
    return task_of(created)


def answer(database: Database, author: str, choice: str, now: int = 10, task_id: str = "t1") -> Outcome | None:
    found = database.run_now(lambda tx: transactions.lease_next(tx, author, "", 60, MOST, now))
    assert found is not None and found.task.task_id == task_id
    return submit(database, found, author, choice, now)


def submit(database: Database, found: Assignment, author: str, choice: str, now: int) -> Outcome | None:
    ids, answers = (found.task.task_id, found.lease.lease_id), {"stop_sign": choice}
    decision = database.run_now(lambda tx: transactions.submit(tx, *ids, answers, author, now, 0.9, undo_window_s=5))
    return decision.outcome if decision else None


def published(database: Database) -> list[label_pb2.SampleLabelled]:
    rows = database.run_now(lambda tx: list(tx.session.scalars(sa.select(OutboxRow))))
    return [label_pb2.SampleLabelled.FromString(row.payload) for row in rows]


def test_a_task_is_made_once(database: Database) -> None:
    assert database.run_now(lambda tx: transactions.create_task(tx, created()))
    assert not database.run_now(lambda tx: transactions.create_task(tx, created()))


@pytest.mark.parametrize(("choices", "samples"), [(["held"] * 2, 1), (["held", "plain", "none", "placard"], 0)])
def test_only_a_task_that_becomes_a_sample_counts_in_the_time_to_a_label(
    database: Database, choices: list[str], samples: int
) -> None:
    count, total = stage_seconds("label-desk", "label")
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    outcomes = [answer(database, who, choice, now=10 * S) for who, choice in zip("abcd", choices, strict=False)]
    assert outcomes[-1] is (Outcome.AGREED if samples else Outcome.DISPUTED)
    assert database.run_now(lambda tx: transactions.end_decided(tx, 30 * S + 1, 0.9)) == 1
    assert stage_seconds("label-desk", "label") == pytest.approx((count + samples, total + 30 * samples))


def test_agreement_counts_only_after_the_undo_window(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    assert answer(database, "ann", "held") is None
    assert answer(database, "ben", "held") is Outcome.AGREED
    assert database.run_now(lambda tx: transactions.end_decided(tx, 10 + 4 * S, 0.9)) == 0
    assert published(database) == []
    assert database.run_now(lambda tx: transactions.end_decided(tx, 10 + 5 * S, 0.9)) == 1
    (event,) = published(database)
    assert dict(event.answers) == {"stop_sign": "held"}
    assert [vote.author for vote in event.votes] == ["ann", "ben"]
    assert database.run_now(lambda tx: transactions.end_decided(tx, 10 + 60 * S, 0.9)) == 0


def test_an_answer_that_is_undone_in_time_changes_the_outcome(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    answer(database, "ann", "held")
    answer(database, "ben", "held")
    again = database.run_now(lambda tx: transactions.undo(tx, "t1", "ben", 60, MOST, 12, 0.9))
    assert database.run_now(lambda tx: transactions.end_decided(tx, 60 * S, 0.9)) == 0
    assert published(database) == []
    assert answer(database, "cid", "held", now=13 + 60 * S) is Outcome.AGREED, "ben's lease is over"
    assert database.run_now(lambda tx: transactions.end_decided(tx, 70 * S, 0.9)) == 1
    (event,) = published(database)
    assert [vote.author for vote in event.votes] == ["ann", "cid"], "an answer that was undone is no vote"
    assert again.lease.author == "ben"


def test_a_lease_that_expired_is_refused_and_the_task_goes_to_another(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    found = database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 10))
    assert found is not None
    with pytest.raises(RefusedError, match="lease_id: the lease is not yours or has expired"):
        submit(database, found, "ann", "held", 10 + 60 * S)
    with pytest.raises(RefusedError, match="lease_id"):
        submit(database, found, "ben", "held", 20)


def test_a_labeller_is_never_asked_the_same_twice(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    answer(database, "ann", "held")
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 20)) is None


def test_the_most_urgent_task_comes_first(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created("low", priority=1)))
    database.run_now(lambda tx: transactions.create_task(tx, created("high", priority=9)))
    found = database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 10))
    assert found is not None and found.task.task_id == "high"


def test_people_are_not_asked_while_hindsight_looks(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created(hindsight=True)))
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 10)) is None
    assert database.run_now(lambda tx: transactions.submit_automatic(tx, "t1", None, 11, 0.9)) is None
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 12)) is not None


def test_sure_hindsight_ends_the_task_at_once_and_only_once(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created(hindsight=True)))
    vote = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "occluded"}, 0.97, 11)
    decision = database.run_now(lambda tx: transactions.submit_automatic(tx, "t1", vote, 11, 0.9))
    assert decision is not None and decision.source is Source.HINDSIGHT
    assert database.run_now(lambda tx: transactions.submit_automatic(tx, "t1", vote, 12, 0.9)) is None
    (event,) = published(database)
    assert event.source == label_pb2.LABEL_SOURCE_HINDSIGHT
    assert event.provenance.sample_id == "sample-t1"


def lease(database: Database, author: str, now: int = 10, request_id: str = "") -> tuple[str, str] | None:
    found = database.run_now(lambda tx: transactions.lease_next(tx, author, "", 60, MOST, now, request_id))
    return (found.task.task_id, found.lease.lease_id) if found else None


def test_a_lease_whose_answer_was_lost_is_given_again_and_not_twice(database: Database) -> None:
    for task_id in ("t1", "t2", "t3"):
        database.run_now(lambda tx, t=task_id: transactions.create_task(tx, created(t)))  # type: ignore[misc]
    first = lease(database, "ann", request_id="r1")
    assert lease(database, "ann", now=20, request_id="r1") == first
    other = lease(database, "ann", now=20, request_id="r2")
    assert first and other and first[0] != other[0]
    assert lease(database, "ben", now=20, request_id="r1") not in (first, None), "an id is its caller's own"
    again = lease(database, "ann", now=10 + 60 * S, request_id="r1")
    assert again is not None and again == first, "an expired lease of the request is renewed"


def test_tasks_that_others_hold_are_passed_over_however_many_they_are(database: Database) -> None:
    for number in range(70):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n:03d}")))  # type: ignore[misc]
    for author in ("ben", "cid"):
        for _ in range(65):
            assert lease(database, author) is not None
    assert [lease(database, "ann", now=11) for _ in range(2)] != [None, None]
    assert lease(database, "ann", now=11, request_id="x") is not None
    found = database.run_now(lambda tx: transactions.lease_next(tx, "dora", "", 60, MOST, 12))
    assert found is not None and found.task.task_id >= "t065"


def test_a_labeller_who_answered_many_is_led_past_them(database: Database) -> None:
    for number in range(60):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n:03d}")))  # type: ignore[misc]
    for number in range(55):  # no second labeller has answered these yet
        answer(database, "ann", "held", task_id=f"t{number:03d}")
    found = lease(database, "ann", now=11)
    assert found is not None and found[0] == "t055"


def only_project(database: Database, now_utc_ns: int) -> ProjectProgress:
    (project,) = database.read_now(lambda tx: queries.progress(tx, now_utc_ns))
    return project


def test_counts_are_kept_as_tasks_end(database: Database) -> None:
    for task_id in ("t1", "t2"):
        database.run_now(lambda tx, t=task_id: transactions.create_task(tx, created(t, hindsight=True)))  # type: ignore[misc]
    vote = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "held"}, 0.97, 11)
    database.run_now(lambda tx: transactions.submit_automatic(tx, "t1", vote, 11, 0.9))
    project = only_project(database, 2 * S)
    assert (project.open, project.ended, project.by_source) == (1, {"agreed": 1}, {"hindsight": 1})
    assert project.oldest_open_s == pytest.approx(2.0)
    database.run_now(lambda tx: transactions.submit_automatic(tx, "t2", vote, 11, 0.9))
    project = only_project(database, 2 * S)
    assert (project.open, project.ended, project.oldest_open_s) == (0, {"agreed": 2}, 0.0)


def test_a_decided_task_is_noticed_once_its_undo_window_is_over(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    answer(database, "ann", "held")
    answer(database, "ben", "held")
    due = 10 + 5 * S
    assert not database.read_now(lambda tx: queries.has_decided(tx, due - 1))
    assert database.read_now(lambda tx: queries.has_decided(tx, due))
    database.run_now(lambda tx: transactions.end_decided(tx, due, 0.9))
    assert not database.read_now(lambda tx: queries.has_decided(tx, due))


def test_ended_tasks_are_pruned_and_stay_counted(database: Database) -> None:
    for task_id in ("t1", "t2", "open"):
        database.run_now(lambda tx, t=task_id: transactions.create_task(tx, created(t, hindsight=t != "open")))  # type: ignore[misc]
    vote = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "held"}, 0.97, 11)
    for task_id, now in (("t1", 100 * S), ("t2", 200 * S)):
        database.run_now(lambda tx, t=task_id, n=now: transactions.submit_automatic(tx, t, vote, n, 0.9))  # type: ignore[misc]
    assert lease(database, "ann", now=200 * S) is not None
    prune = lambda tx: transactions.prune_ended(tx, 151 * S, 10, keep_s=50)  # noqa: E731
    assert database.run_now(prune) == 1
    assert database.run_now(prune) == 0
    left = database.read_now(lambda tx: sorted(tx.session.scalars(sa.select(TaskRow.task_id))))
    assert left == ["open", "t2"]
    assert database.read_now(lambda tx: list(tx.session.scalars(sa.select(VoteRow.task_id)))) == ["t2"]
    project = only_project(database, 200 * S)
    assert (project.open, project.ended, project.leased) == (1, {"agreed": 2}, 1)
    assert database.run_now(lambda tx: transactions.prune_ended(tx, 10**6 * S, 10, keep_s=50)) == 1, (
        "never an open one"
    )


def test_the_leases_of_a_task_end_with_it(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    answer(database, "ann", "held")
    answer(database, "ben", "plain")
    held = database.run_now(lambda tx: transactions.lease_next(tx, "cid", "", 60, MOST, 11))
    assert held is not None
    database.run_now(lambda tx: transactions.undo(tx, "t1", "ann", 600, MOST, 12, 0.9))
    assert submit(database, held, "cid", "plain", 13) is Outcome.AGREED
    assert only_project(database, 14).leased == 1, "ann has the task again after the undo"
    assert database.run_now(lambda tx: transactions.end_decided(tx, 20 * S, 0.9)) == 1
    assert database.read_now(lambda tx: list(tx.session.scalars(sa.select(LeaseRow.author)))) == []
    assert only_project(database, 20 * S).leased == 0


def test_a_pruned_task_takes_its_votes_and_leases_with_it(database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    answer(database, "ann", "held")
    lease(database, "ben", now=11)

    def end(tx: Transaction) -> None:
        tx.session.get_one(TaskRow, "t1").ended_at_utc_ns = 20

    database.run_now(end)
    assert database.run_now(lambda tx: transactions.prune_ended(tx, 21 + S, 10, keep_s=1)) == 1
    for column in (TaskRow.task_id, VoteRow.task_id, LeaseRow.task_id):
        assert database.read_now(lambda tx, c=column: list(tx.session.scalars(sa.select(c)))) == []  # type: ignore[misc]


FEW = 3


def ask(database: Database, author: str, now: int, lease_s: float = 60) -> Assignment | None:
    return database.run_now(lambda tx: transactions.lease_next(tx, author, "", lease_s, FEW, now))


def test_a_labeller_leases_no_more_than_the_stated_number_of_open_tasks(database: Database) -> None:
    for number in range(8):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n}")))  # type: ignore[misc]
    held = [ask(database, "ann", 10) for _ in range(FEW)]
    with pytest.raises(ResourceExhaustedError, match=r"ann has 3 open tasks.*answer or release one of them"):
        ask(database, "ann", 10)
    assert ask(database, "ben", 10) is not None, "the limit is each labeller's own"
    assert held[0] is not None and held[1] is not None
    submit(database, held[0], "ann", "held", 11)
    assert ask(database, "ann", 11) is not None
    with pytest.raises(ResourceExhaustedError):
        ask(database, "ann", 11)
    task_id, lease_id = held[1].task.task_id, held[1].lease.lease_id
    database.run_now(lambda tx: transactions.release(tx, task_id, "ann", lease_id))
    assert ask(database, "ann", 12) is not None
    with pytest.raises(ResourceExhaustedError):
        ask(database, "ann", 12)
    assert ask(database, "ann", 20 + 60 * S) is not None, "leases that expired do not count"


def test_an_undone_answer_counts_as_an_open_task(database: Database) -> None:
    for number in range(5):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n}")))  # type: ignore[misc]
    first = ask(database, "ann", 10)
    assert first is not None
    submit(database, first, "ann", "held", 11)
    for _ in range(FEW):
        ask(database, "ann", 12)
    with pytest.raises(ResourceExhaustedError):
        database.run_now(lambda tx: transactions.undo(tx, first.task.task_id, "ann", 60, FEW, 13, 0.9))
    votes = database.run_now(lambda tx: queries.votes_of(tx, first.task.task_id))
    assert [vote.author for vote in votes] == ["ann"], "a refused undo keeps the answer"


def test_a_retry_at_the_limit_gets_its_lease_again(database: Database) -> None:
    for number in range(4):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n}")))  # type: ignore[misc]
    found = [
        database.run_now(lambda tx, n=n: transactions.lease_next(tx, "ann", "", 60, FEW, 10, f"r{n}"))  # type: ignore[misc]
        for n in range(FEW)
    ]
    again = database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, FEW, 11, "r2"))
    assert again == found[2]


def test_many_requests_of_one_labeller_at_once_do_not_pass_the_limit(database: Database) -> None:
    for number in range(20):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n:02d}")))  # type: ignore[misc]

    def try_to_lease(_: int) -> bool:
        try:
            return ask(database, "ann", 10) is not None
        except ResourceExhaustedError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_lease, range(16))) == FEW


@given(steps=st.lists(st.tuples(st.sampled_from(["lease", "submit", "undo", "release", "wait"]), st.integers(0, 9))))
@settings(max_examples=40, deadline=None)
def test_no_order_of_calls_passes_the_limit(steps: list[tuple[str, int]]) -> None:
    database = Database("sqlite://", Base)
    Base.metadata.create_all(database.engine)
    for number in range(8):
        database.run_now(lambda tx, n=number: transactions.create_task(tx, created(f"t{n}")))  # type: ignore[misc]
    now, held, answered = 10, [], []
    for step, which in steps:
        now += 20 * S if step == "wait" else 1
        with contextlib.suppress(RefusedError):
            if step == "lease" and (found := ask(database, "ann", now)) is not None:
                held.append(found)
            elif step == "submit" and held:
                taken = held[which % len(held)]
                submit(database, taken, "ann", "held", now)
                answered.append(taken.task.task_id)
            elif step == "undo" and answered:
                task_id = answered[which % len(answered)]
                held.append(database.run_now(lambda tx: transactions.undo(tx, task_id, "ann", 60, FEW, now, 0.9)))  # noqa: B023
            elif step == "release" and held:
                gone = held[which % len(held)]
                ids = gone.task.task_id, "ann", gone.lease.lease_id
                database.run_now(lambda tx: transactions.release(tx, *ids))  # noqa: B023
        live = sa.select(sa.func.count()).select_from(LeaseRow).where(LeaseRow.expires_at_utc_ns > now)
        assert database.run_now(lambda tx: tx.session.scalars(live).one()) <= FEW  # noqa: B023
    database.close()

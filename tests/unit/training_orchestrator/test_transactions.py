from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleetloop.domain.run_folder import RunResult
from fleetloop.kit.storage.database import Database
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from training_orchestrator import queries, transactions
from training_orchestrator.codec import model_change_of, version_of
from training_orchestrator.core import Start, due
from training_orchestrator.model import ModelStage, Policy, Verdict
from training_orchestrator.store import Base

POLICY = Policy("town", "town-test", "first.yaml", "turn.yaml", new_samples=100, attempts=2)
OLD, NEW = "a" * 64, "b" * 64
S = rollout_pb2


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    for name, version, samples, frozen in (("town-test", "v1", 300, True), ("town", "v1", 1000, False)):
        committed = dataset_pb2.DatasetCommitted(
            dataset=name, version=version, samples=samples, frozen=frozen, lance_tag=version, table_address="t"
        )
        database.run_now(lambda tx, c=committed: transactions.record_version(tx, version_of(c)))  # type: ignore[misc]
    yield database
    database.close()


def change(database: Database, digest: str, stage: S.ModelStage.ValueType, sequence: int, previous: str = "") -> None:
    event = S.ModelChanged(model_digest=digest, stage=stage, sequence=sequence, previous_model_digest=previous)
    database.run_now(lambda tx: transactions.record_model_change(tx, model_change_of(event)))


def decision(database: Database, now: int = 6) -> Start | str:
    return database.run_now(lambda tx: due(POLICY, queries.situation(tx, POLICY), now))


def run_to_its_end(database: Database, digest: str, passed: bool = True) -> str:
    start = decision(database)
    assert isinstance(start, Start), start
    run_id = database.run_now(lambda tx: transactions.queue_run(tx, start, 1, 5).run_id)
    result = RunResult(passed=passed, reasons=["because"], metrics=[], model_digest=digest, files={})
    database.run_now(lambda tx: transactions.record_evaluation(tx, run_id, result, "a", "e", {"f": (1, "s")}, 6))
    return run_id


def grow(database: Database, version: str, samples: int) -> None:
    committed = dataset_pb2.DatasetCommitted(
        dataset="town", version=version, samples=samples, lance_tag=version, table_address="t"
    )
    database.run_now(lambda tx: transactions.record_version(tx, version_of(committed)))


def shrink(database: Database, version: str, samples: int, removed: int) -> None:
    committed = dataset_pb2.DatasetCommitted(
        dataset="town", version=version, samples=samples, changed=removed, lance_tag=version, table_address="t"
    )
    database.run_now(lambda tx: transactions.record_version(tx, version_of(committed)))


def test_no_run_starts_between_passing_and_the_end_of_the_rollout(database: Database) -> None:
    run_to_its_end(database, OLD)
    grow(database, "v2", 1200)
    waiting = "a candidate is on its way to the vehicles"
    assert decision(database) == waiting  # the rollout has not heard of it yet
    change(database, OLD, S.MODEL_STAGE_REGISTERED, 1)
    assert decision(database) == waiting  # it is about to begin
    change(database, OLD, S.MODEL_STAGE_RELEASED, 2)
    start = decision(database)
    assert isinstance(start, Start) and start.parent_digest == OLD
    run_to_its_end(database, NEW)
    grow(database, "v3", 1400)
    for sequence, stage in ((3, S.MODEL_STAGE_REGISTERED), (4, S.MODEL_STAGE_SHADOWING), (5, S.MODEL_STAGE_CANARY)):
        change(database, NEW, stage, sequence, previous=OLD)
        assert decision(database) == waiting
    change(database, NEW, S.MODEL_STAGE_ROLLED_BACK, 6, previous=OLD)
    start = decision(database)
    assert isinstance(start, Start) and start.parent_digest == OLD  # the one that is back


def test_a_candidate_that_others_overtook_blocks_nothing(database: Database) -> None:
    run_to_its_end(database, OLD)
    change(database, OLD, S.MODEL_STAGE_REGISTERED, 1)
    change(database, NEW, S.MODEL_STAGE_REGISTERED, 2)
    change(database, NEW, S.MODEL_STAGE_RELEASED, 3)
    grow(database, "v2", 1200)
    start = decision(database)
    assert isinstance(start, Start) and start.parent_digest == NEW


def test_an_older_change_never_overwrites_a_newer(database: Database) -> None:
    change(database, OLD, S.MODEL_STAGE_RELEASED, 2)
    change(database, OLD, S.MODEL_STAGE_REGISTERED, 1)
    row = database.run_now(queries.driving)
    assert row is not None and row.stage is ModelStage.RELEASED


def test_only_files_of_a_model_that_passed_are_known(database: Database) -> None:
    run_to_its_end(database, OLD, passed=False)
    assert database.run_now(lambda tx: queries.passed_files(tx, OLD)) is None
    assert isinstance(decision(database), str), "the same data waits for the backoff"
    grow(database, "v2", 1200)
    run_to_its_end(database, NEW)
    assert database.run_now(lambda tx: queries.passed_files(tx, NEW)) == {"f": (1, "s")}


def test_samples_are_counted_from_the_last_run_that_gave_a_candidate(database: Database) -> None:
    run_to_its_end(database, OLD)
    change(database, OLD, S.MODEL_STAGE_RELEASED, 1)
    grow(database, "v2", 1100)
    rejected = run_to_its_end(database, NEW, passed=False)
    reason = decision(database)
    assert isinstance(reason, str) and "1 runs without a candidate" in reason
    start = decision(database, 6 + 3600 * 10**9)
    assert isinstance(start, Start) and start.why.startswith("100 new samples since the last candidate")
    grow(database, "v3", 1200)
    start = decision(database)
    assert isinstance(start, Start) and start.version.version == "v3"
    failed = database.run_now(lambda tx: transactions.queue_run(tx, start, 1, 5).run_id)
    assert decision(database) == "a run is under way"
    database.run_now(lambda tx: transactions.fail_run(tx, failed, "died", 7))
    reason = decision(database, 7 + 3600 * 10**9)
    assert isinstance(reason, str) and "2 runs without a candidate: again in 3600 s" in reason
    known = database.run_now(lambda tx: queries.find_run(tx, rejected))
    assert known is not None and known.verdict == Verdict.REJECTED
    assert database.run_now(lambda tx: queries.find_run(tx, "none")) is None


@pytest.mark.parametrize("stage", [S.MODEL_STAGE_ROLLED_BACK, S.MODEL_STAGE_WITHDRAWN])
def test_the_samples_of_a_candidate_that_was_turned_down_are_not_used_up(
    database: Database, stage: S.ModelStage.ValueType
) -> None:
    run_to_its_end(database, OLD)
    change(database, OLD, S.MODEL_STAGE_RELEASED, 1)
    grow(database, "v2", 1150)
    run_to_its_end(database, NEW)
    change(database, NEW, S.MODEL_STAGE_SHADOWING, 2, previous=OLD)
    change(database, NEW, stage, 3, previous=OLD)
    reason = decision(database)
    assert isinstance(reason, str) and "1 runs without a candidate: again in" in reason, "not at once, in a loop"
    again = decision(database, 6 + 3600 * 10**9)
    assert isinstance(again, Start) and again.why.startswith("150 new samples since the last candidate")
    assert again.parent_digest == OLD


def test_a_version_that_is_known_is_noted_once(database: Database) -> None:
    grow(database, "v2", 1100)
    grow(database, "v1", 1000)  # read again from the topic's beginning
    newest = database.run_now(lambda tx: queries.newest_version(tx, "town"))
    assert newest is not None and newest.version == "v2"


def test_a_retraction_makes_no_sample_new_and_none_old(database: Database) -> None:
    run_to_its_end(database, OLD)
    for sequence, stage in ((1, S.MODEL_STAGE_REGISTERED), (2, S.MODEL_STAGE_RELEASED)):
        change(database, OLD, stage, sequence)
    grow(database, "v2", 1060)
    shrink(database, "v3", 860, removed=200)
    assert decision(database) == "60 of 100 new samples"
    grow(database, "v4", 900)
    start = decision(database)
    assert isinstance(start, Start)
    assert (start.version.version, start.why) == ("v4", "100 new samples since the last candidate")
    run_to_its_end(database, NEW)
    change(database, NEW, S.MODEL_STAGE_RELEASED, 3, previous=OLD)
    assert decision(database) == "0 of 100 new samples"
    grow(database, "v5", 999)
    assert decision(database) == "99 of 100 new samples"


def test_no_run_starts_on_a_version_without_samples(database: Database) -> None:
    shrink(database, "v2", 0, removed=1000)
    assert decision(database) == "dataset town has no samples: all were retracted"

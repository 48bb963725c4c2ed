"""The lead time of samples: when the stages `train` and `rollout` end, and that each sample is counted once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.stages import stage_seconds
from tests.unit.rollout_controller.test_transactions import FIRST, SECOND, Fleet

from fleetloop.domain.topics import DATASET
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.metrics import LoopStage, observe_stage
from fleetloop.kit.storage.database import Database
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller import transactions
from rollout_controller.codec import passed_run, version_in
from rollout_controller.metrics import SERVICE
from rollout_controller.model import CommittedVersion, Stage
from rollout_controller.store import Base, ModelRow, WaitingVersionRow
from rollout_controller.transactions.lead_times import KEPT_NS, record_version

S = 10**9


def version(number: int, at_s: int, detected_s: Sequence[int], **changes: object) -> CommittedVersion:
    fields = {
        "dataset": "town", "number": number, "frozen": False, "committed_at_utc_ns": at_s * S,
        "detected_at_utc_ns": tuple(each * S for each in detected_s),
    } | changes  # fmt: skip
    return CommittedVersion(**fields)  # type: ignore[arg-type]


class Loop:
    """A fleet of one car, and the durations that were observed since the start of the test."""

    def __init__(self, database: Database) -> None:
        self.database, self.fleet = database, Fleet(database)
        self.before = self._read()

    @staticmethod
    def _read() -> dict[str, tuple[float, float]]:
        """Stage -> samples and the sum of their seconds."""

        read = {stage.value: stage_seconds(SERVICE, stage.value) for stage in (LoopStage.TRAIN, LoopStage.ROLLOUT)}
        count = REGISTRY.get_sample_value("fleetloop_loop_lead_seconds_count") or 0.0
        read["lead"] = (count, REGISTRY.get_sample_value("fleetloop_loop_lead_seconds_sum") or 0.0)
        return read

    def observed(self) -> dict[str, tuple[float, object]]:
        return {
            name: (count - self.before[name][0], pytest.approx(total - self.before[name][1]))
            for name, (count, total) in self._read().items()
        }

    def commit(self, committed: CommittedVersion) -> bool:
        return self.database.run_now(lambda tx: record_version(tx, committed))

    def train(self, digest: str, dataset_version: str, at_s: int, dataset: str = "town") -> None:
        run = training_pb2.RunChanged(
            model_digest=digest, run_id=digest[:1], dataset=dataset, dataset_version=dataset_version,
            changed_at_utc_ns=at_s * S,
        )  # fmt: skip
        self.database.run_now(lambda tx: transactions.register(tx, passed_run(run), at_s * S))
        self.database.run_now(lambda tx: setattr(tx.session.get_one(ModelRow, digest), "published", True))

    def release(self, digest: str, began_s: int, attested_s: int) -> None:
        """Releases a model to the car, which attests it at `attested_s`."""
        self.fleet.begin(began_s)
        if self.fleet.stages()[-1] != (digest, Stage.RELEASED):
            self.fleet.move(Stage.CANARY, 25, began_s)
            self.fleet.move(Stage.RELEASED, 100, began_s)
        self.fleet.attest("car-1", digest, attested_s)

    def waiting(self) -> list[int]:
        query = sa.select(WaitingVersionRow.number).order_by(WaitingVersionRow.number)
        return self.database.read_now(lambda tx: list(tx.session.scalars(query)))


@pytest.fixture
def loop(database_url: str) -> Iterator[Loop]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    loop = Loop(database)
    loop.fleet.attest("car-1", "", 1)
    yield loop
    database.close()


def test_each_sample_of_a_released_model_has_a_lead_time_that_its_stages_add_up_to(loop: Loop) -> None:
    loop.commit(version(1, at_s=100, detected_s=[10, 40]))
    loop.train(FIRST, "v1", at_s=130)
    loop.release(FIRST, 131, attested_s=180)
    assert loop.observed() == {"train": (2, 60), "rollout": (2, 100), "lead": (2, 170 + 140)}
    before_the_commit_s = (100 - 10) + (100 - 40)
    assert before_the_commit_s + 60 + 100 == 170 + 140
    assert loop.waiting() == []


def test_no_rollout_is_over_before_the_last_vehicle_attests(loop: Loop) -> None:
    loop.fleet.attest("car-2", "", 129)
    loop.commit(version(1, 100, [10]))
    loop.train(FIRST, "v1", 130)
    loop.release(FIRST, 131, 180)
    assert loop.observed()["lead"] == (0, 0)
    loop.fleet.attest("car-2", FIRST, 200)
    assert loop.observed() == {"train": (1, 30), "rollout": (1, 70), "lead": (1, 190)}


def test_the_samples_of_a_rolled_back_model_wait_for_the_next_that_is_released(loop: Loop) -> None:
    loop.train(FIRST, "v1", 2)
    loop.release(FIRST, 3, 4)
    loop.commit(version(2, 100, [10]))
    loop.train(SECOND, "v2", 130)
    loop.fleet.begin(131)
    loop.fleet.move(Stage.ROLLED_BACK, 0, 140)
    assert loop.waiting() == [2]
    loop.commit(version(3, 150, [145]))
    loop.train("c" * 64, "v3", 160)
    loop.release("c" * 64, 161, 200)
    train_s = (130 - 100) + (160 - 150)
    assert loop.observed() == {
        "train": (2, train_s), "rollout": (2, (200 - 130) + (200 - 160)), "lead": (2, 190 + 55),
    }  # fmt: skip


def test_a_model_ends_only_the_wait_of_versions_that_it_was_trained_on(loop: Loop) -> None:
    loop.commit(version(1, 100, [10]))
    loop.commit(version(2, 120, [20]))
    loop.commit(version(1, 120, [20], dataset="other"))
    loop.train(FIRST, "v1", 130)
    loop.release(FIRST, 131, 180)
    assert loop.observed()["lead"] == (1, 170)
    assert loop.waiting() == [1, 2]


def test_a_version_that_is_read_after_its_model_passed_counts_the_same(loop: Loop) -> None:
    loop.train(FIRST, "v1", 130)
    loop.commit(version(1, 100, [10]))
    loop.release(FIRST, 131, 180)
    assert loop.observed() == {"train": (1, 30), "rollout": (1, 50), "lead": (1, 170)}


def test_nothing_waits_that_can_have_no_lead_time(loop: Loop) -> None:
    assert not loop.commit(version(1, 100, [10], frozen=True))
    assert not loop.commit(version(1, 100, [])), "imported samples were not detected"
    loop.train(FIRST, "v5", 130)
    loop.release(FIRST, 131, 180)
    assert not loop.commit(version(5, 100, [10])), "the model that drives was trained on it"
    assert loop.commit(version(6, 190, [10]))
    assert loop.waiting() == [6]


def test_a_version_that_no_model_used_is_deleted_in_the_end(loop: Loop) -> None:
    loop.commit(version(1, 100, [10]))
    kept_s = KEPT_NS // S
    loop.commit(version(2, 100 + kept_s, [10]))
    assert loop.waiting() == [1, 2]
    loop.commit(version(3, 101 + kept_s, [10]))
    assert loop.waiting() == [2, 3]


def test_a_repeated_version_changes_nothing(loop: Loop) -> None:
    loop.commit(version(1, 100, [10]))
    loop.train(FIRST, "v1", 130)
    assert not loop.commit(version(1, 100, [10]))
    assert loop.waiting() == [1]
    assert loop.observed()["train"] == (1, 30)


def committed(name: str) -> Record:
    message = dataset_pb2.DatasetCommitted(
        dataset="town", version=name, committed_at_utc_ns=7, detected_at_utc_ns=[3, 4]
    )
    return Record(DATASET, 0, 0, b"", message.SerializeToString(), [], 0)


def test_the_event_of_a_commit_gives_number_and_detections() -> None:
    assert version_in(committed("v12")) == CommittedVersion("town", 12, False, 7, (3, 4))


@pytest.mark.parametrize("name", ["", "12", "v0", "v-1", "v1.5", "v1 ", "v٣", "v" + "9" * 30])
def test_a_version_without_a_number_cannot_be_read(name: str) -> None:
    with pytest.raises(UnreadableMessageError, match="version"):
        version_in(committed(name))


@given(times=st.lists(st.integers(1, 10**6), min_size=6, max_size=6))
def test_a_stage_is_never_shorter_than_nothing_and_stages_in_order_add_up(times: list[int]) -> None:
    """Times in order add up to the whole; times from clocks that disagree never count as negative."""

    def total() -> float:
        return sum(stage_seconds("test", stage.value)[1] for stage in LoopStage)

    before = total()
    for stage, (began_s, ended_s) in zip(LoopStage, pairwise(times), strict=True):
        observe_stage("test", stage, began_s * S, ended_s * S)
    rises = [max(0, after - earlier) for earlier, after in pairwise(times)]
    assert total() - before == pytest.approx(sum(rises), abs=1e-3)


def test_a_stage_whose_beginning_is_unknown_is_not_observed() -> None:
    labels = {"service": "test-unknown", "stage": "clip"}
    observe_stage("test-unknown", LoopStage.CLIP, 0, 5 * S)
    assert REGISTRY.get_sample_value("fleetloop_stage_seconds_count", labels) is None
    observe_stage("test-unknown", LoopStage.CLIP, 4 * S, 5 * S)
    assert REGISTRY.get_sample_value("fleetloop_stage_seconds_sum", labels) == 1.0


def test_a_retracted_sample_gets_no_lead_time(loop: Loop) -> None:
    loop.commit(version(1, at_s=100, detected_s=[10, 40, 40]))
    loop.commit(version(2, at_s=110, detected_s=[50]))
    assert not loop.commit(version(3, at_s=115, detected_s=[], removed_detected_at_utc_ns=(40 * S, 50 * S)))
    assert loop.waiting() == [1]
    loop.commit(version(4, at_s=120, detected_s=[60]))
    loop.train(FIRST, "v4", at_s=130)
    loop.release(FIRST, 131, attested_s=180)
    assert loop.observed()["lead"] == (3, (180 - 10) + (180 - 40) + (180 - 60))
    assert loop.waiting() == []

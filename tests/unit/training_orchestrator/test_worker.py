"""What one turn of the worker does to a run, with the run's folder in every state that a crash can leave.

The jobs are real folders; only starting a process is left out, which tests/integration does under torchrun.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.domain.run_folder import RunRequest, VersionRef
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.dataset.v1 import dataset_pb2
from training_orchestrator import queries, transactions
from training_orchestrator.codec import run_bytes, version_of
from training_orchestrator.jobs import TorchrunJobs
from training_orchestrator.model import Policy, Run, State, Verdict
from training_orchestrator.settings import TrainingOrchestratorSettings
from training_orchestrator.store import Base, RunRow
from training_orchestrator.worker import Worker

POLICY = Policy("town", "town-test", "first.yaml", "turn.yaml", new_samples=100, attempts=2, retry_after_s=600)


class Folders(TorchrunJobs):
    """Launches are noted and nothing is started; `end` only notes the run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "no.such.module", 0)
        self.launched: list[tuple[str, RunRequest]] = []
        self.ended: list[str] = []

    def launch(self, run_id: str, request: RunRequest) -> bool:
        self.launched.append((run_id, request))
        self.folder(run_id).mkdir(parents=True, exist_ok=True)
        return True

    def end(self, run_id: str) -> None:
        self.ended.append(run_id)


class House:
    def __init__(self, folder: Path, url: str) -> None:
        self.database = Database(url, Base)
        Base.metadata.create_all(self.database.engine)
        self.jobs = Folders(folder / "runs")
        self.clock = ManualClock()
        self.objects = Objects((folder / "objects").as_uri(), "demo")
        settings = TrainingOrchestratorSettings(
            kafka_bootstrap_servers="none:1",
            signing_key=folder / "key",
            config_dir=folder / "config",
            seed=3,
            tables_url="tables",
        )
        self.worker = Worker(self.database, self.objects, self.jobs, {"town": POLICY}, settings, self.clock)
        for name, samples, frozen in (("town-test", 300, True), ("town", 1000, False)):
            committed = dataset_pb2.DatasetCommitted(
                dataset=name,
                version="v1",
                samples=samples,
                frozen=frozen,
                lance_tag="v1",
                table_address=f"tables/{name}.lance",
            )
            self.database.run_now(lambda tx, c=committed: transactions.record_version(tx, version_of(c)))  # type: ignore[misc]

    def runs(self) -> list[Run]:
        return self.database.read_now(queries.runs)[0]

    def attempts(self) -> int:
        return self.database.run_now(lambda tx: tx.session.get_one(RunRow, self.runs_id(tx)).attempts)

    @staticmethod
    def runs_id(tx: Transaction) -> str:
        return queries.runs(tx)[0][0].run_id

    def leave_result(self, run_id: str, **changes: object) -> str:
        """What a job leaves that is done; its model's digest."""
        folder = self.jobs.folder(run_id)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        contents = {name: f"{run_id} {name}".encode() for name in VEHICLE_FILES}
        for name, content in contents.items():
            (folder / "model" / name).write_bytes(content)
        digest = artifact_digest({name: sha256_hex(content) for name, content in contents.items()})
        result = {
            "passed": True, "reasons": ["better"], "metrics": [], "model_digest": digest,
            "files": {name: f"model/{name}" for name in VEHICLE_FILES},
        }  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result | changes))
        return digest


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[House]:
    house = House(tmp_path, database_url)
    yield house
    house.database.close()


async def test_a_due_run_is_queued_and_started_once(house: House, tmp_path: Path) -> None:
    await house.worker.run_once()
    (run,) = house.runs()
    assert run.state == State.RUNNING
    ((run_id, request),) = house.jobs.launched
    assert run_id == run.run_id
    assert request.recipe == (tmp_path / "config" / "recipes" / "first.yaml").resolve()
    assert (request.seed, request.parent) == (3, None)
    assert request.dataset == VersionRef(table="tables/town.lance", tag="v1", version="v1")


async def test_a_job_that_holds_its_lock_goes_on_until_its_heartbeat_stops(house: House) -> None:
    await house.worker.run_once()
    run_id = house.runs()[0].run_id
    with (house.jobs.folder(run_id) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (house.jobs.folder(run_id) / "heartbeat").touch()
        house.clock.utc_ns = (house.jobs.folder(run_id) / "heartbeat").stat().st_mtime_ns + 10**9
        await house.worker.run_once()
        assert (len(house.jobs.launched), house.jobs.ended) == (1, [])
        house.clock.advance(121)  # it has not beaten for longer than heartbeat_stale_s
        await house.worker.run_once()
        assert house.jobs.ended == [run_id]


async def test_a_job_whose_start_was_not_recorded_is_adopted(house: House) -> None:
    await house.worker.run_once()
    run_id = house.runs()[0].run_id

    def forget(tx: Transaction) -> None:
        row = tx.session.get_one(RunRow, run_id)
        row.state, row.attempts = "queued", 0

    house.database.run_now(forget)
    with (house.jobs.folder(run_id) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        await house.worker.run_once()
    assert (len(house.jobs.launched), house.attempts()) == (1, 1)
    assert house.runs()[0].state == State.RUNNING


async def test_a_job_that_dies_is_started_again_so_often_and_then_has_failed(house: House) -> None:
    for _ in range(4):
        await house.worker.run_once()
    assert len(house.jobs.launched) == POLICY.attempts
    (run,) = house.runs()
    assert run.state == State.FAILED
    assert "the job died 2 times; its log is" in run.reasons[0]
    await house.worker.run_once()
    assert len(house.runs()) == 1, "the same data is not tried again at once"
    house.clock.advance(601)
    await house.worker.run_once()
    assert len(house.runs()) == 2


async def test_a_result_is_stored_once_and_its_files_are_kept(house: House) -> None:
    await house.worker.run_once()
    run_id = house.runs()[0].run_id
    digest = house.leave_result(run_id)
    await house.worker.run_once()
    (run,) = house.runs()
    assert (run.state, run.verdict) == (State.EVALUATED, Verdict.PASSED)
    assert run.model_digest == digest
    for name in VEHICLE_FILES:
        assert house.objects.get(f"{run.artifact_address}/{name}") == f"{run_id} {name}".encode()
    said = run_bytes(run)
    await house.worker.run_once()
    assert run_bytes(house.runs()[0]) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"error": "recipe: is wrong"}, "recipe: is wrong"),
        ({"model_digest": "0" * 64}, "model_digest: is not the digest of the files"),
        ({"files": {"card.json": "model/card.json"}}, "is missing"),
        ({"files": dict.fromkeys(VEHICLE_FILES, "nowhere")}, "nowhere is not a file"),
        ({"files": dict.fromkeys(VEHICLE_FILES, "../../secret")}, "is not a path in the run folder"),
        ({"metrics": [{"task": "t"}]}, "result.json: metrics.0.slice: Field required"),
    ],
)
async def test_a_result_that_is_not_what_it_says_fails_the_run(
    house: House, changes: dict[str, object], said: str
) -> None:
    await house.worker.run_once()
    house.leave_result(house.runs()[0].run_id, **changes)
    await house.worker.run_once()
    (run,) = house.runs()
    assert run.state == State.FAILED
    assert said in run.reasons[0]


async def test_a_run_whose_dataset_has_no_policy_any_more_fails(house: House) -> None:
    await house.worker.run_once()
    house.worker._policies = {}
    await house.worker.run_once()
    assert "no longer has a policy for town" in house.runs()[0].reasons[0]

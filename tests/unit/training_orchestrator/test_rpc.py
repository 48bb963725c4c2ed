"""What people may start, and what is signed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TargetFile, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer

from fleetloop.domain.run_folder import RunResult
from fleetloop.kit import rpc as fleetkit_rpc
from fleetloop.kit.refusal import RefusalKind, RefusedError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.training.v1 import training_pb2
from training_orchestrator import transactions
from training_orchestrator.codec import version_of
from training_orchestrator.jobs import TorchrunJobs
from training_orchestrator.model import Policy
from training_orchestrator.rpc import TrainingService
from training_orchestrator.settings import load_policies
from training_orchestrator.store import Base

POLICY = Policy("town", "town-test", "first.yaml", "turn.yaml", new_samples=100, attempts=2)
DIGEST = "d" * 64


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects((tmp_path / "objects").as_uri(), "demo")


@pytest.fixture
def service(database: Database, objects: Objects, tmp_path: Path) -> Iterator[TrainingService]:
    jobs = TorchrunJobs(tmp_path / "runs", "no.such.module", 0)
    token = fleetkit_rpc._caller.set(Identity("demo", "user", "ann"))
    yield TrainingService(
        database, jobs, {"town": POLICY}, CryptoSigner.generate_ed25519(), 7, ManualClock(), asyncio.Event(),
        lambda: ("first.yaml", "turn.yaml"), objects,
    )  # fmt: skip
    fleetkit_rpc._caller.reset(token)


def commit(database: Database, dataset: str, *, frozen: bool = False, version: str = "v1") -> None:
    committed = dataset_pb2.DatasetCommitted(
        dataset=dataset, version=version, samples=300, frozen=frozen, lance_tag=version, table_address="t"
    )
    database.run_now(lambda tx: transactions.record_version(tx, version_of(committed)))


def start_request(**changes: str) -> training_pb2.StartRunRequest:
    return training_pb2.StartRunRequest(**({"request_id": "r", "dataset": "town", "reason": "why not"} | changes))  # type: ignore[arg-type]


async def refusal(service: TrainingService, request: training_pb2.StartRunRequest) -> tuple[RefusalKind, str]:
    with pytest.raises(RefusedError) as caught:
        await service.StartRun(request, None)
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize("recipe", ["../training.yaml", "/etc/passwd", "first", "turn.yaml/", "FIRST.YAML", " "])
async def test_a_recipe_that_does_not_exist_is_refused_with_those_that_do(
    service: TrainingService, database: Database, recipe: str
) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    kind, text = await refusal(service, start_request(recipe=recipe))
    assert kind is RefusalKind.INVALID_ARGUMENT
    assert text == "recipe: there is no such recipe; config/recipes has first.yaml, turn.yaml"
    assert (await service.ListRuns(training_pb2.ListRunsRequest(), None)).runs == []


async def test_a_run_is_started_once_a_request_and_one_at_a_time(
    service: TrainingService, database: Database
) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    first = await service.StartRun(start_request(recipe="turn.yaml"), None)
    assert (first.run.recipe, first.run.why, first.run.seed) == ("turn.yaml", "by user/ann: why not", 7)
    assert await service.StartRun(start_request(recipe="turn.yaml"), None) == first
    kind, text = await refusal(service, start_request(request_id="another"))
    assert (kind, text) == (
        RefusalKind.FAILED_PRECONDITION,
        "dataset: a run of this dataset is under way",
    )


async def test_without_a_name_a_run_takes_the_policys_recipe(service: TrainingService, database: Database) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    assert (await service.StartRun(start_request(), None)).run.recipe == "first.yaml", "nothing drives yet"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": ""}, "request_id"),
        ({"dataset": "nowhere"}, "dataset"),
        ({"dataset_version": "v9"}, "dataset_version"),
    ],
)
async def test_a_refusal_names_its_field(
    service: TrainingService, database: Database, changes: dict[str, str], field: str
) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    assert (await refusal(service, start_request(**changes)))[1].startswith(f"{field}: ")


async def test_a_test_set_that_is_not_frozen_examines_nothing(service: TrainingService, database: Database) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=False)
    kind, text = await refusal(service, start_request())
    assert kind is RefusalKind.FAILED_PRECONDITION and "import the frozen test set town-test" in text


def role(path: str, length: int, sha256: str) -> bytes:
    targets = Targets(version=1, targets={path: TargetFile(length, {"sha256": sha256}, path)})
    signed: bytes = CanonicalJSONSerializer().serialize(targets)
    return signed


async def test_only_what_passed_is_signed_and_byte_for_byte(service: TrainingService, database: Database) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    run_id = (await service.StartRun(start_request(), None)).run.run_id
    path, sha = f"models/{DIGEST}/head.onnx", "5" * 64
    good = training_pb2.SignModelsRequest(signed=role(path, 10, sha))
    with pytest.raises(RefusedError, match="did not pass here"):
        await service.SignModels(good, None)
    result = RunResult(passed=True, reasons=["good"], metrics=[], model_digest=DIGEST, files={})
    database.run_now(
        lambda tx: transactions.record_evaluation(tx, run_id, result, "a", "e", {"head.onnx": (10, sha)}, 6)
    )
    answer = await service.SignModels(good, None)
    assert answer.key_id and len(answer.signature) == 64
    for wrong in (role(path, 11, sha), role(path, 10, "6" * 64), role(f"models/{DIGEST}/other", 10, sha)):
        with pytest.raises(RefusedError, match="is not the file that passed"):
            await service.SignModels(training_pb2.SignModelsRequest(signed=wrong), None)
    for noise in (b"", b"{}", b'{"_type": "root"}', role(path, 10, sha)[:-5]):
        with pytest.raises(RefusedError, match="signed: not the signed part of a targets role"):
            await service.SignModels(training_pb2.SignModelsRequest(signed=noise), None)


async def test_a_watch_ends_with_its_run_and_knows_no_other(service: TrainingService, database: Database) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    run_id = (await service.StartRun(start_request(), None)).run.run_id
    database.run_now(lambda tx: transactions.fail_run(tx, run_id, "it died", 5))
    watch = service.WatchRun(training_pb2.WatchRunRequest(run_id=run_id), None)
    assert [(each.state, each.message) async for each in watch] == [(training_pb2.RUN_STATE_FAILED, "it died")]
    with pytest.raises(RefusedError, match="run_id: no such run"):
        await anext(service.WatchRun(training_pb2.WatchRunRequest(run_id="none"), None))


async def test_the_page_of_an_examination_is_returned_where_there_is_one(
    service: TrainingService, database: Database, objects: Objects
) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    run_id = (await service.StartRun(start_request(), None)).run.run_id
    request = training_pb2.GetReportRequest(run_id=run_id)
    with pytest.raises(RefusedError, match="run_id: the run has no model"):
        await service.GetReport(request, None)
    result = RunResult(passed=True, reasons=[], metrics=[], model_digest=DIGEST, files={})
    address = "demo/models/2026-11-28/d"
    database.run_now(lambda tx: transactions.record_evaluation(tx, run_id, result, address, "e", {}, 6))
    with pytest.raises(RefusedError, match="run_id: its job wrote no page") as caught:
        await service.GetReport(request, None)
    assert caught.value.kind is RefusalKind.NOT_FOUND
    objects.put_once(f"{address}/report.html", b"<!doctype html>")
    assert (await service.GetReport(request, None)).html == b"<!doctype html>"
    with pytest.raises(RefusedError, match="no such run"):
        await service.GetReport(training_pb2.GetReportRequest(run_id="none"), None)


def test_a_policy_with_a_recipe_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "first.yaml").write_text("")
    (tmp_path / "training.yaml").write_text(
        "datasets: {town: {test_set: t, first_recipe: first.yaml, recipe: ../turn.yaml, new_samples: 1}}"
    )
    with pytest.raises(Exception, match=r"datasets.town.recipe: '../turn.yaml' is none of first.yaml"):
        load_policies(tmp_path / "training.yaml")


async def test_runs_come_in_pages_newest_first(service: TrainingService, database: Database) -> None:
    commit(database, "town")
    commit(database, "town-test", frozen=True)
    for number in range(5):
        run_id = (await service.StartRun(start_request(request_id=str(number)), None)).run.run_id
        database.run_now(lambda tx, r=run_id: transactions.fail_run(tx, r, "it died", 5))  # type: ignore[misc]
    seen, token = [], ""
    for size in (2, 2, 1):
        answer = await service.ListRuns(training_pb2.ListRunsRequest(page_size=2, page_token=token), None)
        seen += [run.run_id.split("-")[1] for run in answer.runs]
        assert len(answer.runs) == size
        token = answer.next_page_token
    assert (seen, token) == (["5", "4", "3", "2", "1"], "")

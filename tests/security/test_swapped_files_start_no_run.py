"""A training run starts only from the files of the model that was examined, and only on the tables of this fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.training_orchestrator.test_worker import House

from fleetloop.domain.artifacts import (
    CARD,
    VEHICLE_FILES,
    WEIGHTS,
    WEIGHTS_DIGEST,
    ArtifactsChangedError,
    artifact_digest,
    check_artifacts,
    sha256_hex,
)
from fleetloop.protos.dataset.v1 import dataset_pb2
from training_orchestrator import transactions
from training_orchestrator.codec import version_of
from training_orchestrator.model import ModelChange, ModelStage, State

ADDRESS = "demo/models/2026-11-28/parent"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    yield house
    house.database.close()


def model(weights: bytes = b"weights", *, with_digest: bool = True) -> tuple[str, dict[str, bytes]]:
    """A model's digest, and its files."""
    card = {WEIGHTS_DIGEST: sha256_hex(weights)} if with_digest else {}
    files = {"encoder.onnx": b"encoder", "head.onnx": b"head", CARD: json.dumps(card).encode(), WEIGHTS: weights}
    return artifact_digest({name: sha256_hex(files[name]) for name in VEHICLE_FILES}), files


def release(house: House, digest: str, files: dict[str, bytes], address: str = ADDRESS) -> None:
    """The model drives, and its files are where the event says."""
    for name, content in files.items():
        house.objects.put(f"{ADDRESS}/{name}", content)
    change = ModelChange(digest, ModelStage.RELEASED, 1, "", address)
    house.database.run_now(lambda tx: transactions.record_model_change(tx, change))


async def test_a_run_starts_from_the_files_that_were_examined(house: House) -> None:
    digest, files = model()
    release(house, digest, files)
    await house.worker.run_once()
    ((_, request),) = house.jobs.launched
    assert request.parent is not None
    assert {name: (request.parent / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("swapped", [WEIGHTS, *VEHICLE_FILES])
async def test_a_swapped_file_of_the_parent_starts_no_run(house: House, swapped: str) -> None:
    digest, files = model()
    release(house, digest, files | {swapped: files[swapped] + b" "})
    await house.worker.run_once()
    assert house.jobs.launched == []
    (run,) = house.runs()
    assert run.state is State.FAILED
    assert swapped in run.reasons[0] and "cannot be used" in run.reasons[0]


@pytest.mark.parametrize("address", ["other/models/x", "/etc", "file:///etc", "demo/../other/models/x"])
async def test_a_parent_outside_the_own_storage_starts_no_run(house: House, address: str) -> None:
    digest, files = model()
    release(house, digest, files, address)
    await house.worker.run_once()
    assert house.jobs.launched == []
    assert "is not below demo/" in house.runs()[0].reasons[0]


@pytest.mark.parametrize("table", ["/tmp/mine/town.lance", "tables/other.lance", "s3://theirs/town.lance", "tables/"])
async def test_a_table_outside_the_own_storage_starts_no_run(house: House, table: str) -> None:
    committed = dataset_pb2.DatasetCommitted(
        dataset="town", version="v2", samples=5000, lance_tag="v2", table_address=table
    )
    house.database.run_now(lambda tx: transactions.record_version(tx, version_of(committed)))
    await house.worker.run_once()
    assert house.jobs.launched == []
    assert house.runs()[0].reasons[0].startswith("table_address: ")


def test_weights_without_a_digest_are_not_used_unless_a_record_of_our_own_has_one() -> None:
    digest, files = model(with_digest=False)
    with pytest.raises(ArtifactsChangedError, match="cannot be checked"):
        check_artifacts(digest, files)
    check_artifacts(digest, files, sha256_hex(b"weights"))
    with pytest.raises(ArtifactsChangedError, match=WEIGHTS):
        check_artifacts(digest, files, sha256_hex(b"others"))

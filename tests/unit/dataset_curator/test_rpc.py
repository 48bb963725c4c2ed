"""DatasetService as its callers see it: retractions, what is refused, and what waits."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.dataset_curator.test_committing import BreakingTables, committer, database, objects, tables
from tests.unit.dataset_curator.test_retracting import add, moment, of, wait

from dataset_curator.committing import Committer
from dataset_curator.rpc import DatasetService
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit import rpc as kit_rpc
from fleetloop.kit.refusal import InvalidArgumentError, NotFoundError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.shipped import config_folder

__all__ = ["committer", "database", "objects", "tables"]
Rows = dataset_pb2.RowSelector


@pytest.fixture
def service(
    committer: Committer, database: Database, tables: BreakingTables, objects: Objects, tmp_path: Path
) -> DatasetService:
    kit_rpc._caller.set(Identity("demo", "user", "ann"))
    schema, trunk = load_task_schema(config_folder() / "tasks.yaml"), load_trunk()
    return DatasetService(database, tables, committer, objects, schema, trunk, ManualClock())


def request(rows: Rows, **changes: str) -> dataset_pb2.RetractRowsRequest:
    fields = {"request_id": "r", "dataset": "town", "reason": "forged clips"} | changes
    return dataset_pb2.RetractRowsRequest(rows=rows, **fields)


async def test_a_retraction_names_who_asked_for_it_and_is_listed(
    service: DatasetService, committer: Committer
) -> None:
    await add(committer, of(1), of(2, vehicle_id="liar"))
    answer = await service.RetractRows(request(Rows(vehicle_id="liar")), None)
    assert (answer.committed.version, answer.committed.retraction.retracted_by) == ("v2", "user/ann")
    assert await service.RetractRows(request(Rows(vehicle_id="liar")), None) == answer
    listed = await service.ListVersions(dataset_pb2.ListVersionsRequest(dataset="town"), None)
    assert (listed.versions[0].version, listed.versions[0].reason) == ("v2", "forged clips")
    diff = dataset_pb2.DiffVersionsRequest(dataset="town", base="v1", head="v2")
    assert [(c.sample_id, c.change) for c in (await service.DiffVersions(diff, None)).changes] == [("s2", "removed")]
    (state,) = (await service.GetCuration(dataset_pb2.GetCurationRequest(), None)).datasets
    (rule,) = state.retractions
    assert (rule.rows.vehicle_id, rule.version, rule.first_version) == ("liar", "v2", "v1")
    assert rule.reason == "forged clips"
    assert (rule.retracted_by, rule.readmitted_at_utc_ns) == ("user/ann", 0)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (request(Rows(vehicle_id="liar"), request_id=""), "request_id"),
        (request(Rows(vehicle_id="liar"), reason=" "), "reason"),
        (request(Rows()), "rows"),
        (request(Rows(vehicle_id="liar", trigger="flicker")), "rows"),
        (request(Rows(vehicle_id="liar", trigger_version=2)), "rows.trigger"),
        (request(Rows(label_source="rumour")), "rows.label_source"),
    ],
)
async def test_a_request_that_cannot_be_carried_out_names_its_field(
    service: DatasetService, bad: dataset_pb2.RetractRowsRequest, field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await service.RetractRows(bad, None)
    assert caught.value.field == field


async def test_a_readmission_is_idempotent_and_needs_a_retraction(
    service: DatasetService, committer: Committer, objects: Objects, database: Database
) -> None:
    await wait(database, moment(objects, "a", 1, vehicle_id="liar"))
    readmission = dataset_pb2.ReadmitRowsRequest(request_id="back", dataset="town", rows=Rows(vehicle_id="liar"))
    with pytest.raises(NotFoundError, match="GetCuration lists what it refuses"):
        await service.ReadmitRows(readmission, None)
    answer = await service.RetractRows(request(Rows(vehicle_id="liar")), None)
    assert (answer.HasField("committed"), answer.discarded_waiting) == (False, 1)
    ended = await service.ReadmitRows(readmission, None)
    assert (ended.rule.readmitted_by, ended.rule.readmitted_at_utc_ns > 0) == ("user/ann", True)
    assert await service.ReadmitRows(readmission, None) == ended

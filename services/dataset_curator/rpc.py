"""DatasetService: versions, their differences, and the import of labelled sets."""

from __future__ import annotations

import asyncio
import json

from dataset_curator import queries, transactions
from dataset_curator.codec import curation_message, rule_message, selector_of, version_message
from dataset_curator.committing import Committer, KnownSampleError
from dataset_curator.core import check_selector, set_digest
from dataset_curator.ports import Trunk
from dataset_curator.preparing import imported_sample
from dataset_curator.tables import DatasetTables
from fleetloop.domain.clips import ClipError
from fleetloop.domain.labelled_set import LabelledSetError, read_set_at
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.refusal import FailedPreconditionError, InvalidArgumentError, NotFoundError
from fleetloop.kit.rpc import RpcServer, caller, request_key
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc

SERVICE_NAME = "fleet.dataset.v1.DatasetService"
_MOST_CHANGES = 10_000


class DatasetService(dataset_pb2_grpc.DatasetServiceServicer):
    """See protos/fleet/dataset/v1/dataset.proto for what each call promises."""

    def __init__(
        self,
        database: Database,
        tables: DatasetTables,
        committer: Committer,
        objects: Objects,
        schema: TaskSchema,
        trunk: Trunk,
        clock: Clock,
        second_person: bool = False,
    ) -> None:
        """`second_person`: whether a test set changes only when two people ask for the same change."""
        self._second_person = second_person
        self._database = database
        self._objects = objects
        self._tables = tables
        self._committer = committer
        self._schema = schema
        self._trunk = trunk
        self._clock = clock

    async def ImportDataset(
        self, request: dataset_pb2.ImportDatasetRequest, context: object
    ) -> dataset_pb2.ImportDatasetResponse:
        if not request.request_id:
            raise InvalidArgumentError("give every attempt of one request the same random id", "request_id")
        if not request.dataset.replace("-", "").replace("_", "").isalnum():
            raise InvalidArgumentError("give a name of letters, digits, - and _", "dataset")
        key = request_key(request.request_id)
        known = await self._database.read(lambda tx: queries.imported_version(tx, key))
        if known is not None:
            return dataset_pb2.ImportDatasetResponse(committed=version_message(known))
        newest = await self._database.read(lambda tx: queries.newest_version(tx, request.dataset))
        if newest is not None and newest.frozen != request.frozen:
            kind = "a frozen test set" if newest.frozen else "trained on"
            raise FailedPreconditionError(f"{request.dataset} is {kind}; import under another name", "frozen")
        now_ns = self._clock.now_utc_ns()
        try:
            samples = await asyncio.to_thread(
                lambda: [
                    imported_sample(row, self._schema, self._trunk, now_ns)
                    for row in read_set_at(request.source_address, self._objects)
                ]
            )
        except (ClipError, LabelledSetError, TaskSchemaError) as error:
            raise InvalidArgumentError(str(error), "source_address") from error
        if not samples:
            raise InvalidArgumentError("the set has no samples", "source_address")
        reason = request.reason
        if request.frozen and self._second_person:
            reason = f"{reason} ({await self._two_people(request.dataset, set_digest(samples), now_ns)})"
        try:
            version = await self._committer.import_samples(request.dataset, samples, reason, request.frozen, key)
        except KnownSampleError as error:
            raise InvalidArgumentError(str(error), "source_address") from error
        return dataset_pb2.ImportDatasetResponse(committed=version_message(version))

    async def _two_people(self, dataset: str, digest: str, now_ns: int) -> str:
        """Who proposed and who approved the change of a test set.

        Raises FailedPreconditionError, and keeps the proposal, until a second person asks for the same change.
        """
        by = str(caller())
        proposed_by = await self._database.run(lambda tx: transactions.propose(tx, dataset, digest, by, now_ns))
        if proposed_by == by:
            raise FailedPreconditionError(
                f"a second person has to approve a change of the test set {dataset}; {by} proposed it",
                "frozen",
                "let another person import the same set within 30 days",
            )
        return f"proposed by {proposed_by}, approved by {by}"

    async def ListVersions(
        self, request: dataset_pb2.ListVersionsRequest, context: object
    ) -> dataset_pb2.ListVersionsResponse:
        found = await self._database.read(lambda tx: queries.versions(tx, request.dataset))
        return dataset_pb2.ListVersionsResponse(versions=map(version_message, found))

    async def DiffVersions(
        self, request: dataset_pb2.DiffVersionsRequest, context: object
    ) -> dataset_pb2.DiffVersionsResponse:
        known = {v.version for v in await self._database.read(lambda tx: queries.versions(tx, request.dataset))}
        for field, version in (("base", request.base), ("head", request.head)):
            if version not in known:
                raise NotFoundError(f"{request.dataset} has no version {version}", field)
        changes = await asyncio.to_thread(self._changes, request)
        return dataset_pb2.DiffVersionsResponse(
            changes=changes[:_MOST_CHANGES], truncated=len(changes) > _MOST_CHANGES
        )

    async def RetractRows(
        self, request: dataset_pb2.RetractRowsRequest, context: object
    ) -> dataset_pb2.RetractRowsResponse:
        if not request.request_id:
            raise InvalidArgumentError("give every attempt of one request the same random id", "request_id")
        if not request.reason.strip():
            raise InvalidArgumentError("say why, for those who find the version later", "reason")
        rows = selector_of(request.rows)
        check_selector(rows)
        key = request_key(request.request_id)
        await self._committer.retract(request.dataset, rows, request.reason, str(caller()), key)
        answer = await self._database.read(lambda tx: tx.response_of(key, queries.RETRACT_METHOD))
        return dataset_pb2.RetractRowsResponse.FromString(answer or b"")

    async def ReadmitRows(
        self, request: dataset_pb2.ReadmitRowsRequest, context: object
    ) -> dataset_pb2.ReadmitRowsResponse:
        rows = selector_of(request.rows)
        check_selector(rows)
        by, now_ns = str(caller()), self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            rule = transactions.readmit(tx, request.dataset, rows, by, now_ns)
            return dataset_pb2.ReadmitRowsResponse(rule=rule_message(rule)).SerializeToString()

        key = request_key(request.request_id)
        answer = await self._database.run(lambda tx: answer_once(tx, key, "ReadmitRows", now_ns, lambda: work(tx)))
        return dataset_pb2.ReadmitRowsResponse.FromString(answer)

    async def GetCuration(
        self, request: dataset_pb2.GetCurationRequest, context: object
    ) -> dataset_pb2.GetCurationResponse:
        found = await self._database.read(lambda tx: queries.curation(tx, self._committer.share, request.dataset))
        return dataset_pb2.GetCurationResponse(datasets=map(curation_message, found))

    def _changes(self, request: dataset_pb2.DiffVersionsRequest) -> list[dataset_pb2.SampleChange]:
        columns = ["sample_id", "task", "choice", "trigger", "trigger_version", "answers"]
        base = {row["sample_id"]: row for row in self._tables.rows(request.dataset, request.base, columns)}
        head = {row["sample_id"]: row for row in self._tables.rows(request.dataset, request.head, columns)}
        changes = []
        for sample_id in sorted({*base, *head}):
            old, new = base.get(sample_id), head.get(sample_id)
            if old is not None and new is not None and old["answers"] == new["answers"]:
                continue
            row = new or old or {}
            change = "added" if old is None else "removed" if new is None else "relabelled"
            changes.append(
                dataset_pb2.SampleChange(
                    sample_id=sample_id,
                    change=change,
                    trigger=row["trigger"],
                    trigger_version=row["trigger_version"],
                    answers=_answers(new),
                    answers_before=_answers(old) if change == "relabelled" else {},
                )
            )
        return changes


def _answers(row: dict[str, object] | None) -> dict[str, str]:
    if row is None:
        return {}
    if row["choice"]:
        return {str(row["task"]): str(row["choice"])}
    return {task: json.dumps(heads) for task, heads in json.loads(str(row["answers"])).items()}


def add_to(server: RpcServer, service: DatasetService) -> None:
    """Serve the calls of `service`."""
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(service, server.server)

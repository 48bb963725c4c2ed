"""Makes versions: an intent, the table, the tag, and then one transaction that makes it true and known.

What if this process dies: before the intent, nothing happened; after it, the next start looks the commit id up in
Lance and either writes the samples or finds them written; tagging and the diff are the same when done twice; the
last transaction holds the version, the event and the end of the intent together. An import that fails in between is
settled in the same way before the next commit of its dataset, and one whose caller goes away is carried to its end.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_curator import transactions
from dataset_curator.core import plan_commit
from dataset_curator.metrics import COMMITS, REFUSED, WAITING
from dataset_curator.model import Neighbour, Plan, Refusal, Sample
from dataset_curator.ports import Trunk
from dataset_curator.preparing import sample_of
from dataset_curator.settings import Curation
from dataset_curator.tables import DatasetTables
from fleetloop.domain.clips import ClipError
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import STAGE_SECONDS
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.process.tracing import span
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import ObjectMissingError, Objects, object_address
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2

log = get_logger(__name__)
MOST_IDS_IN_EVENT = 10_000
"""An event has a size that a topic takes; the diff has all."""


class KnownSampleError(ValueError):
    """An import gives an id that the dataset has to other pictures. The text names it and says what to do."""


class Committer:
    """The one writer of a fleet's datasets."""

    def __init__(
        self,
        database: Database,
        tables: DatasetTables,
        objects: Objects,
        schema: TaskSchema,
        trunk: Trunk,
        curation: Curation,
        fleet_id: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._tables = tables
        self._objects = objects
        self._schema = schema
        self._trunk = trunk
        self._curation = curation
        self._fleet_id = fleet_id
        self._clock = clock
        self._turn = asyncio.Lock()
        self._imports: set[asyncio.Future[dataset_pb2.DatasetCommitted]] = set()

    async def run(self, stopping: asyncio.Event, tick_s: float) -> None:
        """Finishes what a predecessor began, then commits whenever it is due, until `stopping`."""
        await self.recover()
        while not stopping.is_set():
            for dataset in await self._database.read(transactions.waiting_datasets):
                await self.commit_if_due(dataset)
            await pause(stopping, tick_s)

    async def recover(self) -> None:
        """Finishes or drops the intents that a predecessor left."""
        async with self._turn:
            for intent in await self._database.read(transactions.intents):
                await self._settle(intent)

    async def _settle(self, intent: transactions.Intent) -> None:
        dataset = intent.dataset
        version = await asyncio.to_thread(self._tables.has_commit, dataset, intent.commit_id)
        if version is None and intent.request_id:
            # An import was never written; whoever asked will ask again.
            await self._database.run(lambda tx: transactions.drop_intent(tx, dataset))
            return
        samples: Sequence[Sample] = ()
        if version is None:
            waiting = await self._database.read(lambda tx: transactions.waiting(tx, dataset))
            wanted = set(json.loads(intent.admitted_ids))
            labelled = [row for row in waiting if row.provenance.sample_id in wanted]
            samples, _ = await asyncio.to_thread(self._prepare, labelled)
        await self._finish(intent, samples)
        log.info("commit_recovered", dataset=dataset, number=intent.number, written=version is not None)

    async def _settle_leftover(self, dataset: str) -> None:
        """A commit of this dataset that failed in this process must not stand in the way of every later one."""
        for intent in await self._database.read(transactions.intents):
            if intent.dataset == dataset:
                await self._settle(intent)

    async def commit_if_due(self, dataset: str) -> dataset_pb2.DatasetCommitted | None:
        """Commits the samples that wait for a dataset when the policy says so."""
        async with self._turn:
            now_ns = self._clock.now_utc_ns()
            count, oldest_ns = await self._database.read(lambda tx: transactions.waiting_count(tx, dataset))
            WAITING.labels(dataset).set(count)
            if not self._curation.policy.is_due(count, ns_to_seconds(now_ns - oldest_ns)):
                return None
            await self._settle_leftover(dataset)
            limit = self._curation.commit_most
            labelled = (await self._database.read(lambda tx: transactions.waiting(tx, dataset)))[:limit]
            samples, unreadable = await asyncio.to_thread(self._prepare, labelled)
            frozen = await self._database.read(transactions.frozen_datasets)
            plan = await asyncio.to_thread(self._plan, dataset, samples, frozen)
            refused: dict[str, Refusal] = {**plan.refused, **unreadable}
            for sample_id, why in refused.items():
                REFUSED.labels(dataset, why.value).inc()
                log.info("sample_refused", dataset=dataset, sample_id=sample_id, reason=why.value)
            taken = [row.provenance.sample_id for row in labelled]
            if not plan.admitted:
                await self._database.run(lambda tx: transactions.discard(tx, dataset, taken))
                return None
            reason = f"{len(plan.admitted)} labelled samples from the fleet"
            return await self._commit(dataset, plan.admitted, taken, refused, reason, frozen=False, request_id="")

    async def import_samples(
        self, dataset: str, samples: Sequence[Sample], reason: str, frozen: bool, request_id: str
    ) -> dataset_pb2.DatasetCommitted:
        """Commits an already labelled set. What is there already, or in a test set, to the pixel, is refused.

        Raises KnownSampleError, and imports nothing, when an id of the dataset is given to other pictures.
        It goes on when the caller is cancelled. A request that was carried out meanwhile gets the same version.
        """
        work = asyncio.ensure_future(self._import(dataset, samples, reason, frozen, request_id))
        self._imports.add(work)
        work.add_done_callback(self._imports.discard)
        return await asyncio.shield(work)

    async def _import(
        self, dataset: str, samples: Sequence[Sample], reason: str, frozen: bool, request_id: str
    ) -> dataset_pb2.DatasetCommitted:
        async with self._turn:
            await self._settle_leftover(dataset)
            answer = await self._database.read(lambda tx: tx.response_of(request_id, "ImportDataset"))
            if answer is not None:
                return dataset_pb2.ImportDatasetResponse.FromString(answer).committed
            by_id = await asyncio.to_thread(self._tables.digests_by_id, dataset)
            known = set(by_id.values())
            others = [name for name in await self._database.read(transactions.frozen_datasets) if name != dataset]
            test = set() if frozen else {d for n in others for d in await asyncio.to_thread(self._tables.digests, n)}
            kept: dict[str, Sample] = {}
            refused: dict[str, Refusal] = {}
            for sample in samples:
                if by_id.get(sample.sample_id, sample.content_sha256) != sample.content_sha256:
                    raise KnownSampleError(
                        f"sample_id {sample.sample_id}: {dataset} has it already, with other pictures; "
                        "an id is for good: give this sample another"
                    )
                if sample.content_sha256 in test:
                    refused[sample.sample_id] = Refusal.IN_TEST_SET
                elif sample.content_sha256 in known or sample.content_sha256 in kept:
                    refused[sample.sample_id] = Refusal.EXACT_DUPLICATE
                else:
                    kept[sample.content_sha256] = sample
            return await self._commit(dataset, list(kept.values()), [], refused, reason, frozen, request_id)

    def _prepare(self, labelled: Sequence[label_pb2.SampleLabelled]) -> tuple[list[Sample], dict[str, Refusal]]:
        samples, unreadable = [], {}
        for row in labelled:
            try:
                samples.append(sample_of(row, self._objects, self._schema, self._trunk))
            except (ClipError, ObjectMissingError, TaskSchemaError) as error:
                log.warning("clip_unreadable", sample_id=row.provenance.sample_id, error=str(error))
                unreadable[row.provenance.sample_id] = Refusal.UNREADABLE_CLIP
        return samples, unreadable

    def _plan(self, dataset: str, samples: Sequence[Sample], frozen: Sequence[str]) -> Plan:
        test_digests = {digest for name in frozen for digest in self._tables.digests(name)}

        searches = [self._tables.neighbourhood(dataset, frozen=False)]
        searches += [self._tables.neighbourhood(name, frozen=True) for name in frozen]

        def neighbours_of(sample: Sample) -> list[Neighbour]:
            return [neighbour for search in searches for neighbour in search(sample)]

        known = self._tables.digests(dataset)
        return plan_commit(samples, known, test_digests, neighbours_of, self._curation.bounds)

    async def _commit(
        self,
        dataset: str,
        admitted: Sequence[Sample],
        taken: Sequence[str],
        refused: Mapping[str, Refusal],
        reason: str,
        frozen: bool,
        request_id: str,
    ) -> dataset_pb2.DatasetCommitted:
        parent = await self._database.read(lambda tx: transactions.newest(tx, dataset))
        number = parent.number + 1 if parent else 1
        before = dataset_pb2.DatasetCommitted.FromString(parent.message) if parent else None
        now_ns = self._clock.now_utc_ns()
        commit_id = causal_id("commit", dataset, number, *(sample.sample_id for sample in admitted))
        detected = [sample.detected_at_utc_ns for sample in admitted if sample.detected_at_utc_ns]
        by_trigger = Counter((sample.trigger, sample.trigger_version) for sample in admitted)
        committed = dataset_pb2.DatasetCommitted(
            event_id=commit_id,
            dataset=dataset,
            version=f"v{number}",
            parent=before.version if before else "",
            samples=(before.samples if before else 0) + len(admitted),
            added=len(admitted),
            by_trigger=[
                dataset_pb2.TriggerCount(trigger=trigger, version=version, samples=count)
                for (trigger, version), count in sorted(by_trigger.items())
            ],
            diff_address=object_address(
                self._fleet_id, "diffs", now_ns, f"{dataset}-v{number}-{commit_id[:8]}.parquet"
            ),
            table_address=self._tables.address(dataset),
            lance_tag=f"v{number}",
            reason=reason,
            committed_at_utc_ns=now_ns,
            earliest_detected_at_utc_ns=min(detected, default=0),
            latest_detected_at_utc_ns=max(detected, default=0),
            frozen=frozen,
            refused=Counter(why.value for why in refused.values()),
            task_schema_version=f"{self._schema.name}-{self._schema.version}",
            added_sample_ids=[sample.sample_id for sample in admitted][:MOST_IDS_IN_EVENT],
        )
        intent = transactions.Intent(
            dataset, commit_id, number, committed.SerializeToString(), json.dumps(list(taken)),
            json.dumps([sample.sample_id for sample in admitted]), request_id,
        )  # fmt: skip
        await self._database.run(lambda tx: transactions.intend(tx, intent))
        return await self._finish(intent, admitted)

    async def _finish(self, intent: transactions.Intent, samples: Sequence[Sample]) -> dataset_pb2.DatasetCommitted:
        committed = dataset_pb2.DatasetCommitted.FromString(intent.message)
        version = await asyncio.to_thread(self._tables.has_commit, intent.dataset, intent.commit_id)
        if version is None:
            version = await asyncio.to_thread(
                self._tables.append, intent.dataset, intent.commit_id, samples, self._trunk.width
            )
        await asyncio.to_thread(self._tables.tag, intent.dataset, committed.lance_tag, version)
        await asyncio.to_thread(self._write_diff, committed, set(json.loads(intent.admitted_ids)))
        traces = await self._database.read(lambda tx: transactions.traces(tx, json.loads(intent.sample_ids)))
        with span("dataset-curator commit", links=traces, attributes={"version": committed.version}):
            now_ns = self._clock.now_utc_ns()
            await self._database.run(lambda tx: transactions.conclude(tx, intent, committed, now_ns))
        COMMITS.labels(intent.dataset).inc()
        if committed.latest_detected_at_utc_ns:
            age_s = ns_to_seconds(committed.committed_at_utc_ns - committed.earliest_detected_at_utc_ns)
            STAGE_SECONDS.labels(transactions.SERVICE, "dataset").observe(max(0.0, age_s))
        log.info("version_committed", dataset=intent.dataset, version=committed.version, added=committed.added)
        return committed

    def _write_diff(self, committed: dataset_pb2.DatasetCommitted, added: Collection[str]) -> None:
        """The added samples with their answers, as Parquet beside the version: all, also where the event has some."""
        columns = ["sample_id", "trigger", "trigger_version", "answers"]
        rows = [
            {**row, "change": "added"}
            for row in self._tables.rows(committed.dataset, committed.lance_tag, columns)
            if row["sample_id"] in added
        ]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        self._objects.put_once(committed.diff_address, buffer.getvalue())

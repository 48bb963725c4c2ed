"""Makes versions: first the record of a pending commit, then table and tag, then one transaction that makes it final.

What happens when the process dies: before the record, nothing was done. After it, the next start looks the commit id
up in Lance and either writes the samples or finds them written. Tagging and the diff are idempotent. The last
transaction stores the version, publishes its event, and deletes the record. A commit that fails in between is
resolved in the same way before the next commit of its dataset, and an import whose caller disconnects is finished
nevertheless. A retraction is a commit that deletes rows: the record has all that it needs, so it is always finished.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dataset_curator import queries, transactions
from dataset_curator.core import ShareBound, is_retracted, plan_commit, selects, within_share
from dataset_curator.metrics import COMMITS, HELD, REFUSED, RETRACTED, UNREADABLE_TABLES, WAITING
from dataset_curator.model import (
    DatasetVersion,
    LabelledMoment,
    Neighbour,
    PendingCommit,
    Plan,
    RefusalReason,
    RetractionRule,
    RowSelector,
    Sample,
    TriggerCount,
)
from dataset_curator.ports import Trunk
from dataset_curator.preparing import sample_of
from dataset_curator.retracting import first_version_with, removed_rows, retraction_of, version_without
from dataset_curator.settings import Curation
from dataset_curator.tables import DatasetTables, TableUnreadableError
from dataset_curator.version_content import diff_of, digest_after
from fleetloop.domain.clips import ClipError
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import LoopStage, observe_stage
from fleetloop.kit.process.tracing import span
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import ObjectMissingError, Objects, object_address

T = TypeVar("T")
log = get_logger(__name__)
MOST_IDS_IN_EVENT = 10_000
"""Sample ids in the event of a version: topics limit the size of an event. The diff has all ids."""


class KnownSampleError(ValueError):
    """An import gives an id that the dataset has to other pictures. The text names the id and the remedy."""


class Committer:
    """The one writer of a fleet's datasets."""

    def __init__(
        self,
        database: Database,
        tables: DatasetTables,
        objects: Objects,
        clips: StoredClips,
        schema: TaskSchema,
        trunk: Trunk,
        curation: Curation,
        fleet_id: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._tables = tables
        self._objects = objects
        self._clips = clips
        self._schema = schema
        self._trunk = trunk
        self._curation = curation
        self._fleet_id = fleet_id
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._requests: set[asyncio.Future[Any]] = set()

    @property
    def share(self) -> ShareBound:
        """The most samples that one vehicle may have."""
        return self._curation.share

    async def recover(self) -> None:
        """Resolve the pending commits that an earlier process left, except those whose table cannot be read."""
        async with self._one_at_a_time:
            for commit in await self._database.read(queries.pending_commits):
                try:
                    await self._resolve(commit)
                except TableUnreadableError as error:
                    UNREADABLE_TABLES.labels(commit.dataset).inc()
                    log.error("table_unreadable", dataset=commit.dataset, error=str(error))

    async def _require_tables(self, *datasets: str) -> None:
        """Raises TableUnreadableError unless the tables of those datasets that have a version can be read."""
        for dataset in datasets:
            if await self._database.read(lambda tx, name=dataset: queries.newest_number(tx, name)):  # type: ignore[misc]
                await asyncio.to_thread(self._tables.require, dataset)

    async def _resolve(self, commit: PendingCommit) -> None:
        """Finish a pending commit, or abandon it when it is an import that was never written."""
        dataset = commit.dataset
        await self._require_tables(dataset)
        version = await asyncio.to_thread(self._tables.has_commit, dataset, commit.commit_id)
        if version is None and commit.request_id and commit.version.retraction is None:
            # The samples came with the request, and its caller, who got no answer, retries it.
            await self._database.run(lambda tx: transactions.abandon_commit(tx, dataset))
            return
        samples: Sequence[Sample] = ()
        if version is None:
            waiting = await self._database.read(lambda tx: queries.waiting(tx, dataset))
            admitted = set(commit.admitted_ids)
            labelled = [moment for moment in waiting if moment.sample_id in admitted]
            samples, _ = await asyncio.to_thread(self._prepare, labelled)
        await self._finish(commit, samples)
        log.info("commit_recovered", dataset=dataset, number=commit.number, written=version is not None)

    async def _resolve_pending(self, dataset: str) -> None:
        """Resolve a commit of this dataset that failed in this process: it would block all later ones."""
        for commit in await self._database.read(queries.pending_commits):
            if commit.dataset == dataset:
                await self._resolve(commit)

    async def commit_if_due(self, dataset: str) -> DatasetVersion | None:
        """Commit the samples that wait for a dataset, if the policy says that a commit is due.

        Raises TableUnreadableError, and commits nothing, while a table is unreadable that a check needs: duplicates
        and samples of a test set could not be recognised.
        """
        async with self._one_at_a_time:
            now_ns = self._clock.now_utc_ns()
            share = self._curation.share
            state = await self._database.read(lambda tx: queries.waiting_state(tx, dataset, share))
            WAITING.labels(dataset).set(state.fresh)
            HELD.labels(dataset).set(state.held)
            waited_s = ns_to_seconds(now_ns - state.oldest_ns) if state.fresh else 0.0
            if not self._curation.policy.is_due(state.fresh + state.admissible, waited_s):
                return None
            frozen = await self._database.read(queries.frozen_datasets)
            await self._require_tables(dataset, *frozen)
            await self._resolve_pending(dataset)
            await self._count_vehicles(dataset)
            most = self._curation.commit_most
            labelled = await self._database.read(lambda tx: queries.candidates(tx, dataset, share, most))
            rules = await self._database.read(lambda tx: queries.retractions(tx, dataset))
            retracted = {m.sample_id: RefusalReason.RETRACTED for m in labelled if is_retracted(m, rules)}
            allowed = [moment for moment in labelled if moment.sample_id not in retracted]
            counts = await self._database.read(lambda tx: queries.vehicle_counts(tx, dataset))
            chosen = within_share(allowed, counts, share)
            samples, unreadable = await asyncio.to_thread(self._prepare, chosen)
            plan = await asyncio.to_thread(self._plan, dataset, samples, frozen)
            refused: dict[str, RefusalReason] = {**plan.refused, **unreadable, **retracted}
            for sample_id, why in refused.items():
                REFUSED.labels(dataset, why.value).inc()
                log.info("sample_refused", dataset=dataset, sample_id=sample_id, reason=why.value)
            admitted = within_share(plan.admitted, counts, share)  # a refused sample made room for more than there is
            used_up = [*refused, *(sample.sample_id for sample in admitted)]
            held = [moment for moment in allowed if moment.sample_id not in set(used_up)]
            await self._database.run(lambda tx: transactions.hold(tx, held))
            if not admitted:
                await self._database.run(lambda tx: transactions.discard_waiting(tx, dataset, used_up))
                return None
            reason = f"{len(admitted)} labelled samples from the fleet"
            return await self._commit(dataset, admitted, used_up, refused, reason, frozen=False, request_id="")

    async def _count_vehicles(self, dataset: str) -> None:
        """Count the samples of each vehicle once, in a dataset from before they were counted with each commit."""
        newest = await self._database.read(lambda tx: queries.newest_version(tx, dataset))
        if newest is None or await self._database.read(lambda tx: queries.is_counted(tx, dataset)):
            return
        rows = await asyncio.to_thread(lambda: list(self._tables.rows(dataset, newest.lance_tag, ["vehicle_id"])))
        counts = Counter(row["vehicle_id"] or "" for row in rows)
        await self._database.run(lambda tx: transactions.count_vehicles(tx, dataset, counts))

    async def import_samples(
        self, dataset: str, samples: Sequence[Sample], reason: str, frozen: bool, request_id: str
    ) -> DatasetVersion:
        """Commit a set that is labelled already. Exact duplicates, of the dataset or of a test set, are refused.

        It goes on when the caller is cancelled. A retry of a request that was carried out gets the same version.
        Raises KnownSampleError, and imports nothing, when the set gives an id of the dataset to other pictures.
        """
        return await self._to_its_end(self._import(dataset, samples, reason, frozen, request_id))

    async def _to_its_end(self, request: Coroutine[Any, Any, T]) -> T:
        """The answer to a request, which is carried out also when its caller is cancelled."""
        work = asyncio.ensure_future(request)
        self._requests.add(work)
        work.add_done_callback(self._requests.discard)
        return await asyncio.shield(work)

    async def _import(
        self, dataset: str, samples: Sequence[Sample], reason: str, frozen: bool, request_id: str
    ) -> DatasetVersion:
        async with self._one_at_a_time:
            await self._resolve_pending(dataset)
            known_version = await self._database.read(lambda tx: queries.imported_version(tx, request_id))
            if known_version is not None:
                return known_version
            others = [name for name in await self._database.read(queries.frozen_datasets) if name != dataset]
            await self._require_tables(dataset, *others)
            await self._count_vehicles(dataset)
            by_id = await asyncio.to_thread(self._tables.digests_by_id, dataset)
            known = set(by_id.values())
            test = set() if frozen else {d for n in others for d in await asyncio.to_thread(self._tables.digests, n)}
            kept: dict[str, Sample] = {}
            refused: dict[str, RefusalReason] = {}
            for sample in samples:
                if by_id.get(sample.sample_id, sample.content_sha256) != sample.content_sha256:
                    raise KnownSampleError(
                        f"sample_id {sample.sample_id}: {dataset} has it already, with other pictures; "
                        "an id never changes its sample: give this one another id"
                    )
                if sample.content_sha256 in test:
                    refused[sample.sample_id] = RefusalReason.IN_TEST_SET
                elif sample.content_sha256 in known or sample.content_sha256 in kept:
                    refused[sample.sample_id] = RefusalReason.EXACT_DUPLICATE
                else:
                    kept[sample.content_sha256] = sample
            return await self._commit(dataset, list(kept.values()), [], refused, reason, frozen, request_id)

    async def retract(self, dataset: str, rows: RowSelector, reason: str, by: str, request_id: str) -> None:
        """Commit a version without some rows, and refuse their origin from now on. The answer is kept by request id.

        It goes on when the caller is cancelled. Raises NotFoundError when no row and no waiting sample is of this
        origin, FailedPreconditionError for a test set.
        """
        await self._to_its_end(self._retract(dataset, rows, reason, by, request_id))

    async def _retract(self, dataset: str, rows: RowSelector, reason: str, by: str, request_id: str) -> None:
        async with self._one_at_a_time:
            await self._resolve_pending(dataset)
            if await self._database.read(lambda tx: tx.response_of(request_id, queries.RETRACT_METHOD)) is not None:
                return
            await self._require_tables(dataset)
            before = await self._database.read(lambda tx: queries.newest_version(tx, dataset))
            if before is not None and before.frozen:
                remedy = "import the set without these rows under another name"
                raise FailedPreconditionError(f"{dataset} is a frozen test set", "dataset", remedy)
            moments = await self._database.read(lambda tx: queries.waiting(tx, dataset))
            waiting = [moment.sample_id for moment in moments if selects(rows, moment)]
            removed = await asyncio.to_thread(removed_rows, self._tables, before, rows) if before is not None else []
            now_ns = self._clock.now_utc_ns()
            if before is None or not removed:
                if not waiting:
                    problem = f"neither the newest version of {dataset} nor what waits for it has rows of {rows}"
                    raise NotFoundError(problem, "rows", "DiffVersions lists the rows of a version")
                rule = RetractionRule(dataset, rows, "", "", by, reason, now_ns)
                await self._database.run(
                    lambda tx: transactions.retract_waiting(tx, rule, waiting, request_id, now_ns)
                )
                return
            await self._count_vehicles(dataset)
            number = await self._database.read(lambda tx: queries.newest_number(tx, dataset))
            first = await asyncio.to_thread(first_version_with, self._tables, dataset, number, rows)
            retraction = retraction_of(rows, by, first, removed, MOST_IDS_IN_EVENT)
            commit_id = causal_id("retraction", dataset, number + 1, str(rows))
            version = replace(
                version_without(before, number + 1, retraction, len(removed), reason, now_ns),
                event_id=commit_id,
                diff_address=self._diff_address(dataset, number + 1, commit_id, now_ns),
                refused={RefusalReason.RETRACTED.value: len(waiting)} if waiting else {},
                content_digest=await asyncio.to_thread(
                    digest_after, self._tables, dataset, before, (), {row["sample_id"] for row in removed}
                ),
            )
            gone = {vehicle: -count for vehicle, count in Counter(row["vehicle_id"] or "" for row in removed).items()}
            commit = PendingCommit(dataset, commit_id, number + 1, version, waiting, [], request_id, gone)
            await self._database.run(lambda tx: transactions.begin_commit(tx, commit))
            await self._finish(commit, ())

    def _prepare(self, labelled: Sequence[LabelledMoment]) -> tuple[list[Sample], dict[str, RefusalReason]]:
        samples, unreadable = [], {}
        for moment in labelled:
            try:
                samples.append(sample_of(moment, self._clips, self._schema, self._trunk))
            except (ClipError, ObjectMissingError, TaskSchemaError) as error:
                log.warning("clip_unreadable", sample_id=moment.sample_id, error=str(error))
                unreadable[moment.sample_id] = RefusalReason.UNREADABLE_CLIP
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
        used_up: Sequence[str],
        refused: Mapping[str, RefusalReason],
        reason: str,
        frozen: bool,
        request_id: str,
    ) -> DatasetVersion:
        number = 1 + await self._database.read(lambda tx: queries.newest_number(tx, dataset))
        before = await self._database.read(lambda tx: queries.newest_version(tx, dataset))
        now_ns = self._clock.now_utc_ns()
        commit_id = causal_id("commit", dataset, number, *(sample.sample_id for sample in admitted))
        detected = [sample.detected_at_utc_ns for sample in admitted if sample.detected_at_utc_ns]
        by_trigger = Counter((sample.trigger, sample.trigger_version) for sample in admitted)
        version = DatasetVersion(
            event_id=commit_id,
            dataset=dataset,
            version=f"v{number}",
            parent=before.version if before else "",
            samples=(before.samples if before else 0) + len(admitted),
            added=len(admitted),
            by_trigger=tuple(
                TriggerCount(trigger, trigger_version, count)
                for (trigger, trigger_version), count in sorted(by_trigger.items())
            ),
            diff_address=self._diff_address(dataset, number, commit_id, now_ns),
            table_address=self._tables.address(dataset),
            lance_tag=f"v{number}",
            reason=reason,
            committed_at_utc_ns=now_ns,
            earliest_detected_at_utc_ns=min(detected, default=0),
            latest_detected_at_utc_ns=max(detected, default=0),
            frozen=frozen,
            refused=Counter(why.value for why in refused.values()),
            task_schema_version=f"{self._schema.name}-{self._schema.version}",
            added_sample_ids=tuple(sample.sample_id for sample in admitted[:MOST_IDS_IN_EVENT]),
            detected_at_utc_ns=tuple(detected[:MOST_IDS_IN_EVENT]),
            content_digest=await asyncio.to_thread(digest_after, self._tables, dataset, before, admitted),
        )
        commit = PendingCommit(
            dataset, commit_id, number, version, used_up, [sample.sample_id for sample in admitted], request_id,
            Counter(sample.vehicle_id for sample in admitted),
        )  # fmt: skip
        await self._database.run(lambda tx: transactions.begin_commit(tx, commit))
        return await self._finish(commit, admitted)

    def _diff_address(self, dataset: str, number: int, commit_id: str, now_ns: int) -> str:
        return object_address(self._fleet_id, "diffs", now_ns, f"{dataset}-v{number}-{commit_id[:8]}.parquet")

    async def _finish(self, commit: PendingCommit, samples: Sequence[Sample]) -> DatasetVersion:
        """Write, tag and announce a pending commit, whichever of these steps was done before."""
        version = commit.version
        lance_version = await asyncio.to_thread(self._tables.has_commit, commit.dataset, commit.commit_id)
        if lance_version is None and version.retraction is not None:
            lance_version = await asyncio.to_thread(
                self._tables.delete, commit.dataset, commit.commit_id, version.retraction.rows
            )
        elif lance_version is None:
            lance_version = await asyncio.to_thread(
                self._tables.append, commit.dataset, commit.commit_id, samples, self._trunk.width
            )
        await asyncio.to_thread(self._tables.tag, commit.dataset, version.lance_tag, lance_version)
        diff = await asyncio.to_thread(diff_of, self._tables, version, set(commit.admitted_ids))
        await asyncio.to_thread(self._objects.put_once, version.diff_address, diff)
        traces = await self._database.read(lambda tx: queries.traces(tx, commit.waiting_ids))
        with span("dataset-curator commit", links=traces, attributes={"version": version.version}):
            now_ns = self._clock.now_utc_ns()
            await self._database.run(lambda tx: transactions.finish_commit(tx, commit, now_ns))
        COMMITS.labels(commit.dataset).inc()
        RETRACTED.labels(commit.dataset).inc(version.removed)
        for sample in samples:
            if sample.detected_at_utc_ns:  # imported samples did not come through the loop
                observe_stage(
                    transactions.SERVICE, LoopStage.DATASET, sample.labelled_at_utc_ns, version.committed_at_utc_ns
                )
        log.info(
            "version_committed",
            dataset=commit.dataset,
            version=version.version,
            added=version.added,
            removed=version.removed,
        )
        return version

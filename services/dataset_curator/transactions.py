"""What the curator does in one transaction each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa

from dataset_curator.store import IntentRow, VersionRow, WaitingRow
from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import DATASET
from fleetloop.kit.process.tracing import current_traceparent
from fleetloop.kit.storage.database import Transaction
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2

SERVICE = "dataset-curator"


@dataclass(frozen=True, slots=True)
class Intent:
    """A commit that was decided and may or may not have been written."""

    dataset: str
    commit_id: str
    number: int
    message: bytes
    sample_ids: str
    admitted_ids: str
    request_id: str


def keep_waiting(tx: Transaction, labelled: label_pb2.SampleLabelled, now_utc_ns: int) -> None:
    """A labelled sample waits for the next commit of its dataset."""
    tx.session.merge(
        WaitingRow(
            sample_id=labelled.provenance.sample_id,
            task=labelled.task,
            dataset=labelled.dataset,
            message=labelled.SerializeToString(),
            since_utc_ns=now_utc_ns,
            traceparent=current_traceparent(),
        )
    )


def waiting_datasets(tx: Transaction) -> list[str]:
    """Datasets that samples wait for."""
    return list(tx.session.scalars(sa.select(WaitingRow.dataset).distinct().order_by(WaitingRow.dataset)))


def waiting_count(tx: Transaction, dataset: str) -> tuple[int, int]:
    """How many samples wait, and since when the oldest does (0 when none)."""
    query = sa.select(sa.func.count(), sa.func.min(WaitingRow.since_utc_ns)).where(WaitingRow.dataset == dataset)
    count, oldest_ns = tx.session.execute(query).one()
    return count, oldest_ns or 0


def waiting(tx: Transaction, dataset: str) -> list[label_pb2.SampleLabelled]:
    """Samples that wait, the oldest first."""
    query = sa.select(WaitingRow).where(WaitingRow.dataset == dataset)
    rows = tx.session.scalars(query.order_by(WaitingRow.since_utc_ns, WaitingRow.sample_id))
    return [label_pb2.SampleLabelled.FromString(row.message) for row in rows]


def traces(tx: Transaction, sample_ids: Sequence[str]) -> list[str]:
    """Traces of samples that wait."""
    query = sa.select(WaitingRow.traceparent).where(WaitingRow.sample_id.in_(sample_ids))
    return [trace for trace in tx.session.scalars(query) if trace]


def discard(tx: Transaction, dataset: str, sample_ids: Sequence[str]) -> None:
    """Samples that were all refused wait no more."""
    tx.session.execute(
        sa.delete(WaitingRow).where(WaitingRow.dataset == dataset, WaitingRow.sample_id.in_(sample_ids))
    )


def newest(tx: Transaction, dataset: str) -> VersionRow | None:
    """The newest version of a dataset."""
    query = sa.select(VersionRow).where(VersionRow.dataset == dataset).order_by(VersionRow.number.desc()).limit(1)
    return tx.session.scalars(query).first()


def frozen_datasets(tx: Transaction) -> list[str]:
    """Datasets with a frozen version: test sets."""
    return list(tx.session.scalars(sa.select(VersionRow.dataset).where(VersionRow.frozen).distinct()))


def versions(tx: Transaction, dataset: str = "") -> list[dataset_pb2.DatasetCommitted]:
    """Versions, newest first."""
    query = sa.select(VersionRow).order_by(VersionRow.dataset, VersionRow.number.desc())
    if dataset:
        query = query.where(VersionRow.dataset == dataset)
    return [dataset_pb2.DatasetCommitted.FromString(row.message) for row in tx.session.scalars(query)]


def intents(tx: Transaction) -> list[Intent]:
    """Commits under way."""
    rows = tx.session.scalars(sa.select(IntentRow).order_by(IntentRow.dataset))
    return [
        Intent(r.dataset, r.commit_id, r.number, r.message, r.sample_ids, r.admitted_ids, r.request_id) for r in rows
    ]


def intend(tx: Transaction, intent: Intent) -> None:
    """Notes a commit before anything of it is written. Fails when another one of the dataset is under way."""
    names = ("dataset", "commit_id", "number", "message", "sample_ids", "admitted_ids", "request_id")
    tx.session.add(IntentRow(**dict(zip(names, astuple(intent), strict=True))))


def drop_intent(tx: Transaction, dataset: str) -> None:
    """Forgets a commit that was never written."""
    tx.session.execute(sa.delete(IntentRow).where(IntentRow.dataset == dataset))


def conclude(tx: Transaction, intent: Intent, committed: dataset_pb2.DatasetCommitted, now_utc_ns: int) -> None:
    """The version is true: it is kept and announced, its samples wait no more, the intent is over."""
    tx.session.add(
        VersionRow(dataset=intent.dataset, number=intent.number, message=intent.message, frozen=committed.frozen)
    )
    discard(tx, intent.dataset, json.loads(intent.sample_ids))
    drop_intent(tx, intent.dataset)
    tx.publish(event_of(DATASET, intent.dataset, committed.event_id, committed, committed.committed_at_utc_ns))
    if intent.request_id:
        response = dataset_pb2.ImportDatasetResponse(committed=committed).SerializeToString()
        tx.remember_response(intent.request_id, "ImportDataset", response, now_utc_ns)

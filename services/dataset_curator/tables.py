"""Lance: one table per dataset, one tag per version. This module decides nothing; it writes what was decided, once.

A write carries its commit id in Lance's transaction properties, so that a process that starts after a crash can look
up whether the write happened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from dataset_curator.model import Neighbour, RowSelector, Sample
from fleetloop.kit.outage import OutageError
from fleetloop.kit.storage.addresses import table_address

COMMIT_PROPERTY = "fleetloop.commit"
_NEWEST_TRANSACTIONS = 1000
"""How many of a table's newest transactions are searched for a commit id."""

_ABSENT = re.compile(r"Dataset at path .* was not found")

_TEXTS = (
    "task", "choice", "slice", "place", "vehicle_id", "clip_id", "clip_address", "firing_id", "trigger", "campaign",
    "model_digest", "label_source", "trunk", "content_sha256",
)  # fmt: skip
_INTEGERS = ("moment_utc_ns", "trigger_version", "labelled_at_utc_ns", "detected_at_utc_ns")


class TableUnreadableError(OutageError):
    """A table cannot be read. Nothing is known about its rows, so the work that needs them waits."""


def schema(embedding_width: int) -> pa.Schema:
    """Columns of a dataset table. `frames` holds the pixels, `frames_shape` how to read them."""
    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            *(pa.field(name, pa.string()) for name in _TEXTS),
            *(pa.field(name, pa.int64()) for name in _INTEGERS),
            pa.field("label_confidence", pa.float32()),
            pa.field("answers", pa.string()),
            pa.field("frames_shape", pa.list_(pa.int32())),
            pa.field("frames", pa.large_binary()),
            pa.field("embedding", pa.list_(pa.float32(), embedding_width)),
        ]
    )


def to_batch(samples: Sequence[Sample], embedding_width: int) -> pa.Table:
    """Rows in the order of `samples`."""
    columns: dict[str, Any] = {"sample_id": [s.sample_id for s in samples]}
    for name in (*_TEXTS, *_INTEGERS, "label_confidence"):
        columns[name] = [getattr(s, name) for s in samples]
    columns["answers"] = [json.dumps(s.answers, sort_keys=True) for s in samples]
    columns["frames_shape"] = [list(s.frames.shape) for s in samples]
    columns["frames"] = [np.ascontiguousarray(s.frames).tobytes() for s in samples]
    columns["embedding"] = [s.embedding.astype(np.float32) for s in samples]
    return pa.table(columns, schema=schema(embedding_width))


def digested_row(sample: Sample) -> dict[str, str]:
    """What the digest of a version covers of a sample, as the table has it."""
    return {
        "sample_id": sample.sample_id,
        "content_sha256": sample.content_sha256,
        "answers": json.dumps(sample.answers, sort_keys=True),
        "choice": sample.choice,
        "slice": sample.slice,
        "trigger": sample.trigger,
    }


def condition(rows: RowSelector) -> str:
    """The rows as Lance selects them. The values are names, which have no quotes; a quote is escaped nevertheless."""
    if rows.trigger_version:
        return f"{_equals('trigger', rows.trigger)} AND trigger_version = {int(rows.trigger_version)}"
    columns = ("vehicle_id", "clip_id", "trigger", "label_source")
    return next(_equals(column, getattr(rows, column)) for column in columns if getattr(rows, column))


def _equals(column: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"{column} = '{quoted}'"


class DatasetTables:
    """The Lance tables below one root, a folder or an object store's URL."""

    def __init__(self, root: str, storage_options: dict[str, str] | None = None) -> None:
        self._root = root.removeprefix("file://").rstrip("/")
        self._options = storage_options
        if "://" not in self._root:
            Path(self._root).mkdir(parents=True, exist_ok=True)

    def address(self, dataset: str) -> str:
        """Address of a dataset's table."""
        return table_address(self._root, dataset)

    def open(self, dataset: str, tag: str | None = None) -> lance.LanceDataset | None:
        """The table in its newest state, or at `tag`; None when the store says that there is none.

        Any other failure, a missing tag included, raises TableUnreadableError: it must not read as an empty table.
        A store can say so wrongly, so callers that know that a table exists call `require` first.
        """
        try:
            return lance.dataset(self.address(dataset), version=tag, storage_options=self._options)
        except Exception as error:  # Lance raises ValueError, OSError and RuntimeError for the same fault
            if tag is None and _ABSENT.match(str(error)):
                return None
            raise self._unreadable(dataset, error) from error

    def require(self, dataset: str) -> None:
        """Raises TableUnreadableError unless the table of a dataset that has a version can be opened."""
        if self.open(dataset) is None:
            raise TableUnreadableError(f"{dataset} has versions, but no table at {self.address(dataset)}: restore it")

    def _unreadable(self, dataset: str, error: Exception) -> TableUnreadableError:
        said = str(error).partition("\n")[0][:300]
        return TableUnreadableError(f"the table of {dataset} at {self.address(dataset)} cannot be read: {said}")

    @contextmanager
    def _reading(self, dataset: str) -> Iterator[None]:
        try:
            yield
        except TableUnreadableError:
            raise
        except Exception as error:
            raise self._unreadable(dataset, error) from error

    def has_commit(self, dataset: str, commit_id: str) -> int | None:
        """Lance's version that a commit made, or None when the commit was not written."""
        table = self.open(dataset)
        if table is None:
            return None
        with self._reading(dataset):
            for back, transaction in enumerate(table.get_transactions(_NEWEST_TRANSACTIONS)):
                properties = transaction.transaction_properties if transaction is not None else None
                if properties and properties.get(COMMIT_PROPERTY) == commit_id:
                    return int(table.version) - back
        return None

    def append(self, dataset: str, commit_id: str, samples: Sequence[Sample], embedding_width: int) -> int:
        """Write samples as one Lance version that carries the commit id; return that version."""
        written = lance.write_dataset(
            to_batch(samples, embedding_width),
            self.address(dataset),
            mode="create" if self.open(dataset) is None else "append",
            storage_options=self._options,
            transaction_properties={COMMIT_PROPERTY: commit_id},
        )
        return int(written.version)

    def delete(self, dataset: str, commit_id: str, rows: RowSelector) -> int:
        """Delete rows in one Lance version that carries the commit id; return that version. Older tags keep the rows.

        It is Lance's `delete` in two steps, because that one takes no transaction properties.
        """
        table = self.open(dataset)
        if table is None:
            raise TableUnreadableError(f"{dataset} has no table at {self.address(dataset)}; restore it from a backup")
        where = condition(rows)
        changed, emptied = [], []
        with self._reading(dataset):
            for fragment in table.get_fragments():
                if not fragment.count_rows(filter=where):
                    continue
                left = fragment.delete(where)
                if left is None:
                    emptied.append(fragment.fragment_id)
                else:
                    changed.append(left)
        operation = lance.LanceOperation.Delete(changed, emptied, where)
        transaction = lance.Transaction(
            read_version=table.version, operation=operation, transaction_properties={COMMIT_PROPERTY: commit_id}
        )
        return int(lance.LanceDataset.commit(table, transaction, max_retries=0).version)

    def tag(self, dataset: str, tag: str, version: int) -> None:
        """Tag a Lance version, unless the tag exists."""
        table = self.open(dataset)
        if table is None:
            raise TableUnreadableError(f"{dataset} has no table at {self.address(dataset)}; restore it from a backup")
        if tag not in table.tags.list():
            table.tags.create(tag, version)

    def digests(self, dataset: str) -> set[str]:
        """Content digests of all rows."""
        table = self.open(dataset)
        if table is None:
            return set()
        with self._reading(dataset):
            return set(table.to_table(columns=["content_sha256"])["content_sha256"].to_pylist())

    def digests_by_id(self, dataset: str) -> dict[str, str]:
        """Sample id -> content digest of all rows."""
        table = self.open(dataset)
        if table is None:
            return {}
        with self._reading(dataset):
            rows = table.to_table(columns=["sample_id", "content_sha256"])
        return dict(zip(rows["sample_id"].to_pylist(), rows["content_sha256"].to_pylist(), strict=True))

    def neighbourhood(self, dataset: str, frozen: bool, count: int = 3) -> Callable[[Sample], list[Neighbour]]:
        """A search for the rows that are most like a sample by the same trunk's embedding.

        The table is opened once for all samples: in an object store each opening is several requests. The search is
        exact until an index is made.
        """
        table = self.open(dataset)
        with self._reading(dataset):
            if table is None or table.count_rows() == 0:
                return lambda sample: []

        def neighbours_of(sample: Sample) -> list[Neighbour]:
            with self._reading(dataset):
                found = table.to_table(
                    columns=["sample_id", "answers", "_distance"],
                    nearest={"column": "embedding", "q": sample.embedding, "k": count, "metric": "cosine"},
                    filter=f"trunk = '{sample.trunk}'",
                    prefilter=True,
                )
            answers = json.dumps(sample.answers, sort_keys=True)
            return [
                Neighbour(row["sample_id"], 1.0 - row["_distance"], row["answers"] == answers, frozen)
                for row in found.to_pylist()
            ]

        return neighbours_of

    def rows(
        self, dataset: str, tag: str, columns: Sequence[str], of: RowSelector | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows of a version, all or those of an origin, and some columns of them."""
        with self._reading(dataset):
            table = lance.dataset(self.address(dataset), version=tag, storage_options=self._options)
            where = None if of is None else condition(of)
            for batch in table.to_batches(columns=list(columns), filter=where):
                yield from batch.to_pylist()

    def has_rows(self, dataset: str, tag: str, of: RowSelector) -> bool:
        """True when a version has rows of an origin."""
        with self._reading(dataset):
            table = lance.dataset(self.address(dataset), version=tag, storage_options=self._options)
            return bool(table.count_rows(filter=condition(of)))

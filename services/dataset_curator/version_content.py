"""What is in a version: the digest of its rows, and its difference from the parent. Writes nothing."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_curator.model import DatasetVersion, Sample
from dataset_curator.tables import DatasetTables, TableUnreadableError, digested_row
from fleetloop.domain.dataset_digest import DIGESTED, dataset_digest


def digest_after(
    tables: DatasetTables,
    dataset: str,
    before: DatasetVersion | None,
    admitted: Sequence[Sample],
    removed_ids: Collection[str] = (),
) -> str:
    """The content of the version to come: the parent's rows without the removed ones, and the new ones.

    Raises TableUnreadableError when the parent's rows are not those that were committed: a change of the table
    must not become part of a version.
    """
    rows = list(tables.rows(dataset, before.lance_tag, DIGESTED)) if before is not None else []
    if before is not None and before.content_digest and dataset_digest(rows) != before.content_digest:
        raise TableUnreadableError(
            f"{dataset} {before.version} has other rows than when it was committed: restore it from a backup"
        )
    kept = (row for row in rows if row["sample_id"] not in removed_ids)
    return dataset_digest([*kept, *(digested_row(sample) for sample in admitted)])


def diff_of(tables: DatasetTables, version: DatasetVersion, added: Collection[str]) -> bytes:
    """The added or removed samples of a version with their answers, as Parquet; the event may have only some."""
    columns = ["sample_id", "trigger", "trigger_version", "answers"]
    if version.retraction is not None:
        found = tables.rows(version.dataset, version.parent, columns, version.retraction.rows)
        rows = [{**row, "change": "removed"} for row in found]
    else:
        found = tables.rows(version.dataset, version.lance_tag, columns)
        rows = [{**row, "change": "added"} for row in found if row["sample_id"] in added]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()

"""What a retraction removes from a dataset, and which versions had it. Reads tables and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dataset_curator.model import DatasetVersion, Retraction, RowSelector, TriggerCount
from dataset_curator.tables import DatasetTables, TableUnreadableError
from fleetloop.kit.process.logs import get_logger

NO_SLICE = "no slice"
_COLUMNS = ("sample_id", "slice", "trigger", "trigger_version", "detected_at_utc_ns", "vehicle_id")
log = get_logger(__name__)


def removed_rows(tables: DatasetTables, newest: DatasetVersion, rows: RowSelector) -> list[dict[str, Any]]:
    """The rows of the newest version that a retraction removes, without their pixels."""
    return list(tables.rows(newest.dataset, newest.lance_tag, _COLUMNS, rows))


def first_version_with(tables: DatasetTables, dataset: str, newest_number: int, rows: RowSelector) -> str:
    """Name of the oldest version that has rows of an origin, of which the newest version has some.

    Versions are read from the newest back to one without such rows. Earlier versions can have had others, but a
    retraction removed those and named the runs that used them. A version that cannot be read counts as having them:
    naming a run too many is better than one too few.
    """
    first = newest_number
    for number in range(newest_number - 1, 0, -1):
        try:
            if not tables.has_rows(dataset, f"v{number}", rows):
                break
        except TableUnreadableError as error:
            log.warning("version_unreadable", dataset=dataset, version=f"v{number}", error=str(error))
        first = number
    return f"v{first}"


def retraction_of(
    rows: RowSelector, by: str, first_version: str, removed: Sequence[Mapping[str, Any]], most_ids: int
) -> Retraction:
    """What the removal of some rows is announced as."""
    by_trigger = Counter((row["trigger"] or "", row["trigger_version"] or 0) for row in removed)
    detected = [row["detected_at_utc_ns"] for row in removed if row["detected_at_utc_ns"]]
    return Retraction(
        rows=rows,
        by=by,
        first_version=first_version,
        by_slice=Counter(row["slice"] or NO_SLICE for row in removed),
        by_trigger=tuple(TriggerCount(name, version, count) for (name, version), count in sorted(by_trigger.items())),
        sample_ids=tuple(row["sample_id"] for row in removed[:most_ids]),
        detected_at_utc_ns=tuple(detected[:most_ids]),
    )


def version_without(
    before: DatasetVersion, number: int, retraction: Retraction, removed: int, reason: str, now_utc_ns: int
) -> DatasetVersion:
    """The version after `before` that lacks `removed` rows; the caller adds id, diff, digest and refused samples."""
    return replace(
        before,
        version=f"v{number}",
        parent=before.version,
        samples=before.samples - removed,
        added=0,
        by_trigger=(),
        lance_tag=f"v{number}",
        reason=reason,
        committed_at_utc_ns=now_utc_ns,
        earliest_detected_at_utc_ns=0,
        latest_detected_at_utc_ns=0,
        added_sample_ids=(),
        detected_at_utc_ns=(),
        removed=removed,
        retraction=retraction,
    )

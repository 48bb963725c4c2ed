"""What the curator reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from dataset_curator.codec import labelled_from, version_from, version_in_answer
from dataset_curator.core import ShareBound, from_vehicles
from dataset_curator.model import (
    DatasetCuration,
    DatasetVersion,
    HeldSamples,
    LabelledMoment,
    PendingCommit,
    RetractionRule,
    RowSelector,
    Waiting,
)
from dataset_curator.store import IntentRow, RetractionRow, VehicleCountRow, VersionRow, WaitingRow
from fleetloop.kit.storage.database import Transaction

IMPORT_METHOD = "ImportDataset"
RETRACT_METHOD = "RetractRows"
_MOST_HELD_LISTED = 1000


def waiting_datasets(tx: Transaction) -> list[str]:
    """Datasets that have samples waiting for a commit."""
    return list(tx.session.scalars(sa.select(WaitingRow.dataset).distinct().order_by(WaitingRow.dataset)))


def waiting_state(tx: Transaction, dataset: str, bound: ShareBound) -> Waiting:
    """How many samples of a dataset wait, and how many of those that are held could join a version now."""
    query = sa.select(sa.func.count(), sa.func.min(WaitingRow.since_utc_ns))
    fresh, oldest_ns = tx.session.execute(query.where(WaitingRow.dataset == dataset, ~WaitingRow.held)).one()
    held = held_counts(tx, dataset)
    counts = vehicle_counts(tx, dataset) if held else {}
    total = from_vehicles(counts) + fresh
    admissible = sum(min(count, bound.room(total, counts.get(vehicle, 0))) for vehicle, count in held.items())
    return Waiting(fresh, oldest_ns or 0, sum(held.values()), admissible)


def held_counts(tx: Transaction, dataset: str) -> dict[str, int]:
    """Vehicle -> samples that are held, the vehicle with the most first."""
    count = sa.func.count()
    query = sa.select(WaitingRow.vehicle_id, count).where(WaitingRow.dataset == dataset, WaitingRow.held)
    found = tx.session.execute(query.group_by(WaitingRow.vehicle_id).order_by(count.desc(), WaitingRow.vehicle_id))
    return {row[0]: row[1] for row in found}


def vehicle_counts(tx: Transaction, dataset: str) -> dict[str, int]:
    """Vehicle -> samples in the newest version; empty when they were never counted."""
    query = sa.select(VehicleCountRow.vehicle_id, VehicleCountRow.samples).where(VehicleCountRow.dataset == dataset)
    return {row[0]: row[1] for row in tx.session.execute(query)}


def is_counted(tx: Transaction, dataset: str) -> bool:
    """Whether the samples of each vehicle in a dataset are known."""
    return tx.session.get(VehicleCountRow, (dataset, "")) is not None


def candidates(tx: Transaction, dataset: str, bound: ShareBound, limit: int) -> list[LabelledMoment]:
    """Samples for the next commit: held ones of vehicles that have room again, and at most `limit` fresh ones.

    The oldest come first. A vehicle with many held samples hides none of the others.
    """
    of_dataset = sa.select(WaitingRow).where(WaitingRow.dataset == dataset)
    order = (WaitingRow.since_utc_ns, WaitingRow.sample_id)
    fresh = tx.session.scalars(of_dataset.where(~WaitingRow.held).order_by(*order).limit(limit)).all()
    held, by_vehicle = held_counts(tx, dataset), Counter(row.vehicle_id for row in fresh)
    counts = vehicle_counts(tx, dataset) if held else {}
    total = from_vehicles(counts) + len(fresh)
    rows: list[WaitingRow] = []
    for vehicle in held:
        room = min(bound.room(total, counts.get(vehicle, 0) + by_vehicle[vehicle]), limit - len(rows))
        if room > 0:
            of_vehicle = of_dataset.where(WaitingRow.held, WaitingRow.vehicle_id == vehicle)
            rows += tx.session.scalars(of_vehicle.order_by(*order).limit(room))
    return [labelled_from(row.message) for row in (*rows, *fresh)]


def waiting(tx: Transaction, dataset: str) -> list[LabelledMoment]:
    """Samples that wait for a commit, held ones too, the oldest first."""
    query = sa.select(WaitingRow).where(WaitingRow.dataset == dataset)
    rows = tx.session.scalars(query.order_by(WaitingRow.since_utc_ns, WaitingRow.sample_id))
    return [labelled_from(row.message) for row in rows]


def traces(tx: Transaction, sample_ids: Sequence[str]) -> list[str]:
    """Traces of waiting samples."""
    query = sa.select(WaitingRow.traceparent).where(WaitingRow.sample_id.in_(sample_ids))
    return [trace for trace in tx.session.scalars(query) if trace]


def newest_number(tx: Transaction, dataset: str) -> int:
    """Number of the newest version of a dataset; 0 before the first."""
    return tx.session.scalar(sa.select(sa.func.max(VersionRow.number)).where(VersionRow.dataset == dataset)) or 0


def newest_version(tx: Transaction, dataset: str) -> DatasetVersion | None:
    """The newest version of a dataset; None before the first."""
    query = sa.select(VersionRow).where(VersionRow.dataset == dataset).order_by(VersionRow.number.desc()).limit(1)
    row = tx.session.scalars(query).first()
    return None if row is None else version_from(row.message)


def frozen_datasets(tx: Transaction) -> list[str]:
    """Datasets with a frozen version: test sets."""
    return list(tx.session.scalars(sa.select(VersionRow.dataset).where(VersionRow.frozen).distinct()))


def versions(tx: Transaction, dataset: str = "") -> list[DatasetVersion]:
    """Versions of one dataset or of all, newest first."""
    query = sa.select(VersionRow).order_by(VersionRow.dataset, VersionRow.number.desc())
    if dataset:
        query = query.where(VersionRow.dataset == dataset)
    return [version_from(row.message) for row in tx.session.scalars(query)]


def pending_commits(tx: Transaction) -> list[PendingCommit]:
    """Commits that were begun and are not finished: at most one per dataset."""
    return [
        PendingCommit(
            dataset=row.dataset,
            commit_id=row.commit_id,
            number=row.number,
            version=version_from(row.message),
            waiting_ids=json.loads(row.sample_ids),
            admitted_ids=json.loads(row.admitted_ids),
            request_id=row.request_id,
            by_vehicle=json.loads(row.by_vehicle),
        )
        for row in tx.session.scalars(sa.select(IntentRow).order_by(IntentRow.dataset))
    ]


def imported_version(tx: Transaction, request_id: str) -> DatasetVersion | None:
    """The version that an import request made; None when it was not carried out."""
    answer = tx.response_of(request_id, IMPORT_METHOD)
    return None if answer is None else version_in_answer(answer)


def retractions(tx: Transaction, dataset: str = "") -> list[RetractionRule]:
    """The retractions of one dataset or of all, newest first; those that ended refuse what was detected before."""
    query = sa.select(RetractionRow).order_by(RetractionRow.retracted_at_utc_ns.desc(), RetractionRow.rule_id)
    if dataset:
        query = query.where(RetractionRow.dataset == dataset)
    return [rule_of(row) for row in tx.session.scalars(query)]


def rule_of(row: RetractionRow) -> RetractionRule:
    """A row as a value."""
    return RetractionRule(
        dataset=row.dataset,
        rows=RowSelector(row.vehicle_id, row.clip_id, row.trigger, row.trigger_version, row.label_source),
        version=row.version,
        first_version=row.first_version,
        by=row.retracted_by,
        reason=row.reason,
        at_utc_ns=row.retracted_at_utc_ns,
        readmitted_at_utc_ns=row.readmitted_at_utc_ns,
        readmitted_by=row.readmitted_by,
    )


def curation(tx: Transaction, bound: ShareBound, dataset: str = "") -> list[DatasetCuration]:
    """What one dataset or each of them does not have, or does not have yet, by name."""
    rules: dict[str, list[RetractionRule]] = {}
    for rule in retractions(tx, dataset):
        rules.setdefault(rule.dataset, []).append(rule)
    names = {*tx.session.scalars(sa.select(VersionRow.dataset).distinct()), *waiting_datasets(tx), *rules}
    return [_curation_of(tx, bound, name, rules.get(name, [])) for name in sorted(names) if dataset in ("", name)]


def _curation_of(
    tx: Transaction, bound: ShareBound, dataset: str, rules: Sequence[RetractionRule]
) -> DatasetCuration:
    counts = vehicle_counts(tx, dataset)
    total = from_vehicles(counts)
    held = list(held_counts(tx, dataset).items())[:_MOST_HELD_LISTED]
    return DatasetCuration(
        dataset,
        waiting_state(tx, dataset, bound).fresh,
        rules,
        [HeldSamples(vehicle, count, counts.get(vehicle, 0)) for vehicle, count in held],
        total,
        bound.most(total),
    )

"""What the curator writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from dataset_curator.codec import import_answer, retraction_answer, version_bytes, version_event
from dataset_curator.model import LabelledMoment, PendingCommit, RetractionRule, RowSelector
from dataset_curator.queries import IMPORT_METHOD, RETRACT_METHOD, is_counted, rule_of
from dataset_curator.store import IntentRow, ProposalRow, RetractionRow, VehicleCountRow, VersionRow, WaitingRow
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.process.tracing import current_traceparent
from fleetloop.kit.refusal import NotFoundError
from fleetloop.kit.storage.database import Transaction

SERVICE = "dataset-curator"
PROPOSAL_S = 30 * 86_400.0
"""Seconds for which a proposed change of a test set waits for a second person."""


def add_waiting(tx: Transaction, labelled: LabelledMoment, now_utc_ns: int) -> None:
    """Store a labelled sample until the next commit of its dataset."""
    tx.session.merge(
        WaitingRow(
            sample_id=labelled.sample_id,
            task=labelled.task,
            dataset=labelled.dataset,
            message=labelled.event,
            since_utc_ns=now_utc_ns,
            traceparent=current_traceparent(),
            vehicle_id=labelled.vehicle_id,
            held=False,
        )
    )


def hold(tx: Transaction, moments: Sequence[LabelledMoment]) -> None:
    """Let samples wait until other vehicles have caught up with theirs."""
    for moment in moments:
        row = tx.session.get(WaitingRow, (moment.sample_id, moment.task))
        if row is not None:
            row.held, row.vehicle_id = True, moment.vehicle_id


def count_vehicles(tx: Transaction, dataset: str, by_vehicle: Mapping[str, int]) -> None:
    """Add to the numbers of samples that a dataset has of each vehicle."""
    for vehicle, samples in {"": 0, **by_vehicle}.items():
        row = tx.session.get(VehicleCountRow, (dataset, vehicle))
        if row is None:
            row = VehicleCountRow(dataset=dataset, vehicle_id=vehicle, samples=0)
            tx.session.add(row)
        row.samples += samples
        if row.samples <= 0 and vehicle:
            tx.session.delete(row)


def discard_waiting(tx: Transaction, dataset: str, sample_ids: Sequence[str]) -> None:
    """Delete samples that no longer wait for a commit: they were committed or refused."""
    tx.session.execute(
        sa.delete(WaitingRow).where(WaitingRow.dataset == dataset, WaitingRow.sample_id.in_(sample_ids))
    )


def propose(tx: Transaction, dataset: str, digest: str, by: str, now_utc_ns: int) -> str:
    """Who proposed this change of a test set: `by` when the change is new, or when the proposal has expired."""
    known = tx.session.get(ProposalRow, (dataset, digest))
    if known is not None and now_utc_ns - known.proposed_at_utc_ns < seconds_to_ns(PROPOSAL_S):
        return known.proposed_by
    tx.session.merge(ProposalRow(dataset=dataset, digest=digest, proposed_by=by, proposed_at_utc_ns=now_utc_ns))
    return by


def prune_proposals(tx: Transaction, now_utc_ns: int, limit: int) -> int:
    """Delete at most `limit` expired proposals; return how many."""
    old = sa.select(ProposalRow).where(ProposalRow.proposed_at_utc_ns < now_utc_ns - seconds_to_ns(PROPOSAL_S))
    rows = tx.session.scalars(old.limit(limit)).all()
    for row in rows:
        tx.session.delete(row)
    return len(rows)


def begin_commit(tx: Transaction, commit: PendingCommit) -> None:
    """Record a commit before any of it is written. Fails while another commit of its dataset is pending."""
    tx.session.add(
        IntentRow(
            dataset=commit.dataset,
            commit_id=commit.commit_id,
            number=commit.number,
            message=version_bytes(commit.version),
            sample_ids=json.dumps(list(commit.waiting_ids)),
            admitted_ids=json.dumps(list(commit.admitted_ids)),
            request_id=commit.request_id,
            by_vehicle=json.dumps(commit.by_vehicle),
        )
    )


def abandon_commit(tx: Transaction, dataset: str) -> None:
    """Delete the record of a commit that was never written."""
    tx.session.execute(sa.delete(IntentRow).where(IntentRow.dataset == dataset))


def finish_commit(tx: Transaction, commit: PendingCommit, now_utc_ns: int) -> None:
    """Make a written commit final: its version is stored and announced, and its samples no longer wait."""
    version = commit.version
    tx.session.add(
        VersionRow(
            dataset=commit.dataset, number=commit.number, message=version_bytes(version), frozen=version.frozen
        )
    )
    discard_waiting(tx, commit.dataset, commit.waiting_ids)
    abandon_commit(tx, commit.dataset)
    if not version.parent or is_counted(tx, commit.dataset):  # otherwise all rows are counted before the next commit
        count_vehicles(tx, commit.dataset, commit.by_vehicle)
    tx.publish(version_event(version))
    if version.retraction is not None:
        retraction = version.retraction
        rule = RetractionRule(
            commit.dataset, retraction.rows, version.version, retraction.first_version, retraction.by, version.reason,
            version.committed_at_utc_ns,
        )  # fmt: skip
        refuse_from_now_on(tx, rule)
        answer = retraction_answer(version, len(commit.waiting_ids))
        tx.remember_response(commit.request_id, RETRACT_METHOD, answer, now_utc_ns)
    elif commit.request_id:
        tx.remember_response(commit.request_id, IMPORT_METHOD, import_answer(version), now_utc_ns)


def refuse_from_now_on(tx: Transaction, rule: RetractionRule) -> None:
    """Refuse samples of an origin from the next commit on."""
    rows = rule.rows
    tx.session.merge(
        RetractionRow(
            rule_id=_rule_id(rule.dataset, rows),
            dataset=rule.dataset,
            vehicle_id=rows.vehicle_id,
            clip_id=rows.clip_id,
            trigger=rows.trigger,
            trigger_version=rows.trigger_version,
            label_source=rows.label_source,
            version=rule.version,
            first_version=rule.first_version,
            retracted_by=rule.by,
            reason=rule.reason,
            retracted_at_utc_ns=rule.at_utc_ns,
            readmitted_at_utc_ns=0,
            readmitted_by="",
        )
    )


def retract_waiting(
    tx: Transaction, rule: RetractionRule, sample_ids: Sequence[str], request_id: str, now_utc_ns: int
) -> None:
    """Retract an origin of which samples wait, and of which no version has rows."""
    discard_waiting(tx, rule.dataset, sample_ids)
    refuse_from_now_on(tx, rule)
    tx.remember_response(request_id, RETRACT_METHOD, retraction_answer(None, len(sample_ids)), now_utc_ns)


def readmit(tx: Transaction, dataset: str, rows: RowSelector, by: str, now_utc_ns: int) -> RetractionRule:
    """Admit samples of a retracted origin again that are detected from now on. Raises NotFoundError."""
    row = tx.session.get(RetractionRow, _rule_id(dataset, rows))
    if row is None or row.readmitted_at_utc_ns:
        raise NotFoundError(f"{dataset} refuses no samples of {rows}", "rows", "GetCuration lists what it refuses")
    row.readmitted_at_utc_ns, row.readmitted_by = now_utc_ns, by
    return rule_of(row)


def _rule_id(dataset: str, rows: RowSelector) -> str:
    return causal_id(
        "retraction", dataset, rows.vehicle_id, rows.clip_id, rows.trigger, rows.trigger_version, rows.label_source
    )

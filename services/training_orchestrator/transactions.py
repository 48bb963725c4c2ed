"""What the orchestrator writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import sqlalchemy as sa

from fleetloop.domain.run_folder import RunResult
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.storage.database import Transaction
from training_orchestrator.codec import run_bytes, run_event, run_from
from training_orchestrator.core import Start
from training_orchestrator.model import DatasetVersion, ModelChange, Run, State, Verdict
from training_orchestrator.queries import version_row
from training_orchestrator.store import ModelStageRow, RunRow, VersionRow

SERVICE = "training-orchestrator"


def record_version(tx: Transaction, version: DatasetVersion) -> None:
    """Store a dataset's new version. A known one is ignored: its topic is kept longer than the ids in the inbox."""
    if version_row(tx, version.dataset, version.version) is not None:
        return
    before = version_row(tx, version.dataset)
    tx.session.add(
        VersionRow(
            dataset=version.dataset,
            version=version.version,
            samples=version.samples,
            table_address=version.table_address,
            lance_tag=version.lance_tag,
            frozen=version.frozen,
            earliest_detected_at_utc_ns=version.earliest_detected_at_utc_ns,
            latest_detected_at_utc_ns=version.latest_detected_at_utc_ns,
            content_digest=version.content_digest,
            removed_so_far=version.removed + (before.removed_so_far if before is not None else 0),
            traceparent=current_traceparent(),
        )
    )


def record_model_change(tx: Transaction, change: ModelChange) -> None:
    """Store a model's new stage. Changes carry a sequence: an older one never overwrites a newer one."""
    row = tx.session.get(ModelStageRow, change.digest)
    if row is not None and row.sequence >= change.sequence:
        return
    tx.session.merge(
        ModelStageRow(
            digest=change.digest,
            stage=int(change.stage),
            sequence=change.sequence,
            previous=change.previous,
            artifact_address=change.artifact_address,
        )
    )


def queue_run(tx: Transaction, start: Start, first_seed: int, now_utc_ns: int, seed: int | None = None) -> Run:
    """Queue and announce a run. Its id depends on its number, so that a redo gives the same run."""
    number = (tx.session.scalar(sa.select(sa.func.max(RunRow.number))) or 0) + 1
    run = Run(
        run_id=f"run-{number}-{causal_id('run', number, start.version.dataset, start.version.version)[:8]}",
        state=State.QUEUED,
        dataset=start.version.dataset,
        dataset_version=start.version.version,
        test_set=start.test_set.dataset,
        test_set_version=start.test_set.version,
        recipe=start.recipe,
        parent_digest=start.parent_digest,
        seed=first_seed + number - 1 if seed is None else seed,
        why=start.why,
        started_by=start.started_by,
        earliest_detected_at_utc_ns=start.version.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=start.version.latest_detected_at_utc_ns,
        changed_at_utc_ns=now_utc_ns,
    )
    version = version_row(tx, start.version.dataset, start.version.version)
    row = RunRow(
        run_id=run.run_id,
        number=number,
        dataset=run.dataset,
        samples=start.version.ever_added,
        state="",
        attempts=0,
        passed_digest="",
        files="{}",
        message=b"",
        traceparent=version.traceparent if version else None,
    )
    tx.session.add(row)
    _announce(tx, row, run)
    return run


def record_start(tx: Transaction, run_id: str, now_utc_ns: int) -> None:
    """A job is started for the run."""
    row = tx.session.get_one(RunRow, run_id)
    row.attempts += 1
    if row.state == State.QUEUED.value:
        _announce(tx, row, replace(run_from(row.message), state=State.RUNNING, changed_at_utc_ns=now_utc_ns))


def fail_run(tx: Transaction, run_id: str, reason: str, now_utc_ns: int) -> None:
    """The run ended without a model."""
    row = tx.session.get_one(RunRow, run_id)
    run = run_from(row.message)
    _announce(tx, row, replace(run, state=State.FAILED, reasons=(reason,), changed_at_utc_ns=now_utc_ns))


def record_evaluation(
    tx: Transaction,
    run_id: str,
    result: RunResult,
    artifact_address: str,
    evaluation_address: str,
    files: Mapping[str, tuple[int, str]],
    now_utc_ns: int,
) -> None:
    """The run's model was examined, and its files are in the object store. Without effect when the run is final."""
    row = tx.session.get_one(RunRow, run_id)
    if State(row.state).is_final:
        return
    run = replace(
        run_from(row.message),
        state=State.EVALUATED,
        changed_at_utc_ns=now_utc_ns,
        verdict=Verdict.PASSED if result.passed else Verdict.REJECTED,
        reasons=tuple(result.reasons),
        metrics=tuple(result.metrics),
        parent_metrics=tuple(result.parent_metrics),
        model_digest=result.model_digest,
        artifact_address=artifact_address,
        evaluation_address=evaluation_address,
    )
    row.passed_digest = result.model_digest if result.passed else ""
    row.files = json.dumps(files, sort_keys=True)
    _announce(tx, row, run)


def _announce(tx: Transaction, row: RunRow, run: Run) -> None:
    row.state = run.state.value
    row.message = run_bytes(run)
    with span(f"{SERVICE} run {run.state.value}", parent=row.traceparent, attributes={"run_id": run.run_id}):
        tx.publish(run_event(run))

"""What the orchestrator does in one transaction each."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.paging import FIRST_PAGE, Page
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from training_orchestrator.codec import metrics_of, run_event, stamp
from training_orchestrator.core import Situation, Start
from training_orchestrator.model import JobResult, Policy, State
from training_orchestrator.store import ModelStageRow, RunRow, VersionRow

SERVICE = "training-orchestrator"
_FINAL = [state.value for state in State if state.is_final]
_ON_ITS_WAY = (rollout_pb2.MODEL_STAGE_SHADOWING, rollout_pb2.MODEL_STAGE_CANARY)


def note_version(tx: Transaction, committed: dataset_pb2.DatasetCommitted) -> None:
    """A dataset has a new version. One that is known is passed over: its topic is kept longer than inbox ids."""
    if newest_version(tx, committed.dataset, committed.version) is not None:
        return
    tx.session.add(
        VersionRow(
            dataset=committed.dataset,
            version=committed.version,
            samples=committed.samples,
            table_address=committed.table_address,
            lance_tag=committed.lance_tag,
            frozen=committed.frozen,
            earliest_detected_at_utc_ns=committed.earliest_detected_at_utc_ns,
            latest_detected_at_utc_ns=committed.latest_detected_at_utc_ns,
            traceparent=current_traceparent(),
        )
    )


def note_model(tx: Transaction, change: rollout_pb2.ModelChanged) -> None:
    """A model changed its stage. Changes carry a sequence; an older one never overwrites a newer."""
    row = tx.session.get(ModelStageRow, change.model_digest)
    if row is not None and row.sequence >= change.sequence:
        return
    tx.session.merge(
        ModelStageRow(
            digest=change.model_digest,
            stage=change.stage,
            sequence=change.sequence,
            previous=change.previous_model_digest,
            artifact_address=change.artifact_address,
        )
    )


def newest_version(tx: Transaction, dataset: str, version: str = "") -> VersionRow | None:
    """The newest version of a dataset, or the one named."""
    query = sa.select(VersionRow).where(VersionRow.dataset == dataset).order_by(VersionRow.place.desc()).limit(1)
    if version:
        query = query.where(VersionRow.version == version)
    return tx.session.scalars(query).first()


def driving(tx: Transaction) -> ModelStageRow | None:
    """The model that drives: the last one released, unless it came back; then the one before it."""
    rows = tx.session.scalars(sa.select(ModelStageRow).order_by(ModelStageRow.sequence.desc())).all()
    by_digest = {row.digest: row for row in rows}
    for row in rows:
        if row.stage == rollout_pb2.MODEL_STAGE_RELEASED:
            return row
        if row.stage == rollout_pb2.MODEL_STAGE_ROLLED_BACK and row.previous:
            return by_digest.get(row.previous)
    return None


def situation(tx: Transaction, policy: Policy) -> Situation:
    """What the core needs to decide on a run."""
    newest = newest_version(tx, policy.dataset)
    test_set = newest_version(tx, policy.test_set)
    mine = sa.select(RunRow).where(RunRow.dataset == policy.dataset).order_by(RunRow.number.desc()).limit(1)
    last = tx.session.scalars(mine).first()
    candidate = tx.session.scalars(mine.where(RunRow.passed_digest != "")).first()
    failures = tx.session.scalar(
        sa.select(sa.func.count()).where(
            RunRow.dataset == policy.dataset,
            RunRow.number > (candidate.number if candidate else 0),
            RunRow.state.in_(_FINAL),
        )
    )
    ended_ns = 0
    if last is not None and State(last.state).is_final:
        ended_ns = training_pb2.RunChanged.FromString(last.message).changed_at_utc_ns
    parent = driving(tx)
    moving = tx.session.scalar(sa.select(sa.func.count()).where(ModelStageRow.stage.in_(_ON_ITS_WAY)))
    # A candidate that was registered last is about to begin; one that others overtook never will.
    newest_change = tx.session.scalars(
        sa.select(ModelStageRow).order_by(ModelStageRow.sequence.desc()).limit(1)
    ).first()
    about_to = newest_change is not None and newest_change.stage == rollout_pb2.MODEL_STAGE_REGISTERED
    unheard_of = ~sa.exists().where(ModelStageRow.digest == RunRow.passed_digest)
    waiting_for_rollout = tx.session.scalars(mine.where(RunRow.passed_digest != "", unheard_of)).first() is not None
    return Situation(
        newest=newest.seen() if newest else None,
        test_set=test_set.seen() if test_set and test_set.frozen else None,
        samples_at_last_candidate=candidate.samples if candidate else 0,
        samples_at_last_run=last.samples if last else 0,
        failures=failures or 0,
        last_ended_at_utc_ns=ended_ns,
        run_is_open=tx.session.scalars(mine.where(RunRow.state.not_in(_FINAL))).first() is not None,
        rollout_is_open=bool(moving) or about_to or waiting_for_rollout,
        parent_digest=parent.digest if parent else "",
    )


def queue(tx: Transaction, start: Start, first_seed: int, now_utc_ns: int, seed: int | None = None) -> RunRow:
    """Makes a run. Its id hangs on its number, so that a redo makes the same."""
    number = (tx.session.scalar(sa.select(sa.func.max(RunRow.number))) or 0) + 1
    run = training_pb2.RunChanged(
        run_id=f"run-{number}-{causal_id('run', number, start.version.dataset, start.version.version)[:8]}",
        dataset=start.version.dataset,
        dataset_version=start.version.version,
        test_set=start.test_set.dataset,
        test_set_version=start.test_set.version,
        recipe=start.recipe,
        parent_model_digest=start.parent_digest,
        seed=first_seed + number - 1 if seed is None else seed,
        why=start.why,
        earliest_detected_at_utc_ns=start.version.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=start.version.latest_detected_at_utc_ns,
    )
    version = newest_version(tx, start.version.dataset, start.version.version)
    row = RunRow(
        run_id=run.run_id,
        number=number,
        dataset=run.dataset,
        samples=start.version.samples,
        state="",
        attempts=0,
        passed_digest="",
        files="{}",
        message=b"",
        traceparent=version.traceparent if version else None,
    )
    tx.session.add(row)
    _announce(tx, row, run, State.QUEUED, now_utc_ns)
    return row


def open_runs(tx: Transaction) -> list[tuple[str, State, int, training_pb2.RunChanged]]:
    """Runs that are not final: id, state, attempts, message."""
    rows = tx.session.scalars(
        sa.select(RunRow).where(RunRow.state.in_([State.QUEUED.value, State.RUNNING.value])).order_by(RunRow.number)
    )
    return [(r.run_id, State(r.state), r.attempts, training_pb2.RunChanged.FromString(r.message)) for r in rows]


def job_request(tx: Transaction, run: training_pb2.RunChanged) -> dict[str, object]:
    """What the job is told, the parent's artifacts and both Lance tags among it."""
    version = newest_version(tx, run.dataset, run.dataset_version)
    test_set = newest_version(tx, run.test_set, run.test_set_version)
    parent = tx.session.get(ModelStageRow, run.parent_model_digest) if run.parent_model_digest else None
    assert version is not None and test_set is not None, "a run is only made of versions that are known"
    return {
        "run_id": run.run_id,
        "recipe": run.recipe,
        "seed": run.seed,
        "dataset": {"table": version.table_address, "tag": version.lance_tag, "version": version.version},
        "test_set": {"table": test_set.table_address, "tag": test_set.lance_tag, "version": test_set.version},
        "parent": {"digest": parent.digest, "address": parent.artifact_address} if parent else None,
    }


def began(tx: Transaction, run_id: str, now_utc_ns: int) -> None:
    """A job was started for the run."""
    row = tx.session.get_one(RunRow, run_id)
    row.attempts += 1
    if row.state == State.QUEUED.value:
        _announce(tx, row, training_pb2.RunChanged.FromString(row.message), State.RUNNING, now_utc_ns)


def failed(tx: Transaction, run_id: str, reason: str, now_utc_ns: int) -> None:
    """The run ended without a model."""
    row = tx.session.get_one(RunRow, run_id)
    run = training_pb2.RunChanged.FromString(row.message)
    run.reasons[:] = [reason]
    _announce(tx, row, run, State.FAILED, now_utc_ns)


def evaluated(
    tx: Transaction,
    run_id: str,
    result: JobResult,
    artifact_address: str,
    evaluation_address: str,
    files: Mapping[str, tuple[int, str]],
    now_utc_ns: int,
) -> None:
    """The run's model was examined; its files lie in the object store."""
    row = tx.session.get_one(RunRow, run_id)
    if State(row.state).is_final:
        return
    run = training_pb2.RunChanged.FromString(row.message)
    run.verdict = training_pb2.VERDICT_PASSED if result.passed else training_pb2.VERDICT_REJECTED
    run.reasons[:] = list(result.reasons)
    run.metrics.extend(metrics_of(result.metrics))
    run.parent_metrics.extend(metrics_of(result.parent_metrics))
    run.model_digest = result.model_digest
    run.artifact_address = artifact_address
    run.evaluation_address = evaluation_address
    row.passed_digest = result.model_digest if result.passed else ""
    row.files = json.dumps(files, sort_keys=True)
    _announce(tx, row, run, State.EVALUATED, now_utc_ns)


def _announce(tx: Transaction, row: RunRow, run: training_pb2.RunChanged, state: State, now_utc_ns: int) -> None:
    stamp(run, state, now_utc_ns)
    row.state = state.value
    row.message = run.SerializeToString()
    with span(f"{SERVICE} run {state.value}", parent=row.traceparent, attributes={"run_id": run.run_id}):
        tx.publish(run_event(run))


def runs(tx: Transaction, page: Page = FIRST_PAGE) -> tuple[list[training_pb2.RunChanged], str]:
    """A page of runs, newest first, and the token of the next page."""
    query = sa.select(RunRow).order_by(RunRow.number.desc()).limit(page.size + 1)
    if page.before is not None:
        query = query.where(RunRow.number < page.before)
    rows = tx.session.scalars(query).all()
    found = [training_pb2.RunChanged.FromString(row.message) for row in rows[: page.size]]
    return found, page.next_token([row.number for row in rows])


def run_of(tx: Transaction, run_id: str) -> training_pb2.RunChanged | None:
    """A run as last announced."""
    row = tx.session.get(RunRow, run_id)
    return None if row is None else training_pb2.RunChanged.FromString(row.message)


def passed_files(tx: Transaction, digest: str) -> Mapping[str, tuple[int, str]] | None:
    """Artifact name -> (size, SHA-256) of a model that passed; None when it did not."""
    row = tx.session.scalars(sa.select(RunRow).where(RunRow.passed_digest == digest)).first()
    return None if row is None else {name: (size, sha) for name, (size, sha) in json.loads(row.files).items()}

"""What the orchestrator reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import sqlalchemy as sa

from fleetloop.domain.artifacts import WEIGHTS
from fleetloop.domain.run_folder import VersionRef
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.paging import FIRST_PAGE, Page
from training_orchestrator.codec import run_from
from training_orchestrator.core import Situation
from training_orchestrator.model import (
    DatasetVersion,
    JobInputs,
    ModelChange,
    ModelStage,
    OpenRun,
    Policy,
    Run,
    State,
)
from training_orchestrator.store import ModelStageRow, RunRow, VersionRow

FINAL = [state.value for state in State if state.is_final]
_TURNED_DOWN = (ModelStage.ROLLED_BACK, ModelStage.WITHDRAWN)
_IN_ROLLOUT = (ModelStage.SHADOWING, ModelStage.CANARY)


def version_row(tx: Transaction, dataset: str, version: str = "") -> VersionRow | None:
    """The row of the newest version of a dataset, or of the version that is named."""
    query = sa.select(VersionRow).where(VersionRow.dataset == dataset).order_by(VersionRow.arrival.desc()).limit(1)
    if version:
        query = query.where(VersionRow.version == version)
    return tx.session.scalars(query).first()


def newest_version(tx: Transaction, dataset: str, version: str = "") -> DatasetVersion | None:
    """The newest version of a dataset, or the version that is named; None when it is not known."""
    row = version_row(tx, dataset, version)
    if row is None:
        return None
    return DatasetVersion(
        dataset=row.dataset,
        version=row.version,
        samples=row.samples,
        table_address=row.table_address,
        lance_tag=row.lance_tag,
        frozen=row.frozen,
        earliest_detected_at_utc_ns=row.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=row.latest_detected_at_utc_ns,
        content_digest=row.content_digest,
        removed_so_far=row.removed_so_far,
    )


def driving(tx: Transaction) -> ModelChange | None:
    """The model that drives: the last one released or, if that was rolled back, the one before it."""
    rows = tx.session.scalars(sa.select(ModelStageRow).order_by(ModelStageRow.sequence.desc())).all()
    by_digest = {row.digest: row for row in rows}
    for row in rows:
        if row.stage == ModelStage.RELEASED:
            return _change_of(row)
        if row.stage == ModelStage.ROLLED_BACK and row.previous:
            previous = by_digest.get(row.previous)
            return None if previous is None else _change_of(previous)
    return None


def _change_of(row: ModelStageRow) -> ModelChange:
    return ModelChange(row.digest, ModelStage(row.stage), row.sequence, row.previous, row.artifact_address)


def situation(tx: Transaction, policy: Policy) -> Situation:
    """What the core needs to decide on a new run of a policy's dataset."""
    newest = newest_version(tx, policy.dataset)
    test_set = newest_version(tx, policy.test_set)
    of_dataset = sa.select(RunRow).where(RunRow.dataset == policy.dataset).order_by(RunRow.number.desc()).limit(1)
    last = tx.session.scalars(of_dataset).first()
    # What was not released has taught the fleet nothing: its samples are not used up.
    turned_down = sa.select(ModelStageRow.digest).where(ModelStageRow.stage.in_(_TURNED_DOWN))
    candidate = tx.session.scalars(
        of_dataset.where(RunRow.passed_digest != "", RunRow.passed_digest.not_in(turned_down))
    ).first()
    failures = tx.session.scalar(
        sa.select(sa.func.count()).where(
            RunRow.dataset == policy.dataset,
            RunRow.number > (candidate.number if candidate else 0),
            RunRow.state.in_(FINAL),
        )
    )
    ended_ns = run_from(last.message).changed_at_utc_ns if last is not None and State(last.state).is_final else 0
    parent = driving(tx)
    in_rollout = tx.session.scalar(sa.select(sa.func.count()).where(ModelStageRow.stage.in_(_IN_ROLLOUT)))
    # The rollout of a candidate that was registered last is about to begin; one that others overtook never begins.
    newest_change = tx.session.scalars(
        sa.select(ModelStageRow).order_by(ModelStageRow.sequence.desc()).limit(1)
    ).first()
    about_to_begin = newest_change is not None and newest_change.stage == ModelStage.REGISTERED
    unannounced = ~sa.exists().where(ModelStageRow.digest == RunRow.passed_digest)
    awaits_rollout = tx.session.scalars(of_dataset.where(RunRow.passed_digest != "", unannounced)).first() is not None
    return Situation(
        newest=newest,
        test_set=test_set if test_set and test_set.frozen else None,
        samples_at_last_candidate=candidate.samples if candidate else 0,
        samples_at_last_run=last.samples if last else 0,
        failures=failures or 0,
        last_ended_at_utc_ns=ended_ns,
        run_is_open=tx.session.scalars(of_dataset.where(RunRow.state.not_in(FINAL))).first() is not None,
        rollout_is_open=bool(in_rollout) or about_to_begin or awaits_rollout,
        parent_digest=parent.digest if parent else "",
    )


def open_runs(tx: Transaction) -> list[OpenRun]:
    """Runs that are not final, the oldest first."""
    rows = tx.session.scalars(
        sa.select(RunRow).where(RunRow.state.in_([State.QUEUED.value, State.RUNNING.value])).order_by(RunRow.number)
    )
    return [OpenRun(replace(run_from(row.message), state=State(row.state)), row.attempts) for row in rows]


def job_inputs(tx: Transaction, run: Run) -> JobInputs:
    """The dataset, the test set and the parent of a run, for its job."""
    version = newest_version(tx, run.dataset, run.dataset_version)
    test_set = newest_version(tx, run.test_set, run.test_set_version)
    parent = tx.session.get(ModelStageRow, run.parent_digest) if run.parent_digest else None
    own = (passed_files(tx, run.parent_digest) if run.parent_digest else None) or {}
    assert version is not None and test_set is not None, "a run is only queued for versions that are known"
    return JobInputs(
        dataset=_version_ref(version),
        test_set=_version_ref(test_set),
        parent_address=parent.artifact_address if parent else "",
        parent_weights_sha256=own.get(WEIGHTS, (0, ""))[1],
    )


def _version_ref(version: DatasetVersion) -> VersionRef:
    return VersionRef(
        table=version.table_address,
        tag=version.lance_tag,
        version=version.version,
        content_digest=version.content_digest,
    )


def runs(tx: Transaction, page: Page = FIRST_PAGE) -> tuple[list[Run], str]:
    """A page of runs, newest first, and the token of the next page."""
    query = sa.select(RunRow).order_by(RunRow.number.desc()).limit(page.size + 1)
    if page.before is not None:
        query = query.where(RunRow.number < page.before)
    rows = tx.session.scalars(query).all()
    return [run_from(row.message) for row in rows[: page.size]], page.next_token([row.number for row in rows])


def find_run(tx: Transaction, run_id: str) -> Run | None:
    """A run as last announced; None when there is no run of this id."""
    row = tx.session.get(RunRow, run_id)
    return None if row is None else run_from(row.message)


def passed_files(tx: Transaction, digest: str) -> Mapping[str, tuple[int, str]] | None:
    """Artifact name -> (size in bytes, SHA-256) of a model that passed; None when it did not."""
    row = tx.session.scalars(sa.select(RunRow).where(RunRow.passed_digest == digest)).first()
    return None if row is None else {name: (size, sha) for name, (size, sha) in json.loads(row.files).items()}

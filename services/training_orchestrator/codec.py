"""Protobuf to the orchestrator's model and back."""

from __future__ import annotations

from collections.abc import Sequence

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.run_folder import Metric
from fleetloop.domain.topics import TRAINING
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from training_orchestrator.model import (
    DatasetVersion,
    ModelChange,
    ModelStage,
    Run,
    State,
    Verdict,
)

STATES = {
    State.QUEUED: training_pb2.RUN_STATE_QUEUED,
    State.RUNNING: training_pb2.RUN_STATE_RUNNING,
    State.EVALUATED: training_pb2.RUN_STATE_EVALUATED,
    State.FAILED: training_pb2.RUN_STATE_FAILED,
}
_STATES_BY_NUMBER = {number: state for state, number in STATES.items()}
_VERDICTS = {
    None: training_pb2.VERDICT_UNSPECIFIED,
    Verdict.PASSED: training_pb2.VERDICT_PASSED,
    Verdict.REJECTED: training_pb2.VERDICT_REJECTED,
}
_VERDICTS_BY_NUMBER = {number: verdict for verdict, number in _VERDICTS.items()}


def version_in(record: Record) -> DatasetVersion:
    """The version in a record of fleet.dataset.v1."""
    return version_of(parse(dataset_pb2.DatasetCommitted, record))


def version_of(committed: dataset_pb2.DatasetCommitted) -> DatasetVersion:
    """A DatasetCommitted as a value."""
    return DatasetVersion(
        dataset=committed.dataset,
        version=committed.version,
        samples=committed.samples,
        table_address=committed.table_address,
        lance_tag=committed.lance_tag,
        frozen=committed.frozen,
        earliest_detected_at_utc_ns=committed.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=committed.latest_detected_at_utc_ns,
        content_digest=committed.content_digest,
        removed=committed.changed,
    )


def model_change_in(record: Record) -> ModelChange:
    """The change in a record of fleet.model.v1."""
    return model_change_of(parse(rollout_pb2.ModelChanged, record))


def model_change_of(change: rollout_pb2.ModelChanged) -> ModelChange:
    """A ModelChanged as a value. A stage that this version does not know is UNSPECIFIED."""
    number = int(change.stage)
    return ModelChange(
        digest=change.model_digest,
        stage=ModelStage(number) if number in set(ModelStage) else ModelStage.UNSPECIFIED,
        sequence=change.sequence,
        previous=change.previous_model_digest,
        artifact_address=change.artifact_address,
    )


def run_message(run: Run) -> training_pb2.RunChanged:
    """A run as a message. Its event id depends on the run and its state, so that a redo has the same id."""
    return training_pb2.RunChanged(
        event_id=causal_id("run", run.run_id, run.state.value),
        run_id=run.run_id,
        state=STATES[run.state],
        dataset=run.dataset,
        dataset_version=run.dataset_version,
        test_set=run.test_set,
        test_set_version=run.test_set_version,
        recipe=run.recipe,
        parent_model_digest=run.parent_digest,
        verdict=_VERDICTS[run.verdict],
        reasons=run.reasons,
        metrics=_metric_messages(run.metrics),
        parent_metrics=_metric_messages(run.parent_metrics),
        evaluation_address=run.evaluation_address,
        artifact_address=run.artifact_address,
        model_digest=run.model_digest,
        changed_at_utc_ns=run.changed_at_utc_ns,
        seed=run.seed,
        latest_detected_at_utc_ns=run.latest_detected_at_utc_ns,
        earliest_detected_at_utc_ns=run.earliest_detected_at_utc_ns,
        why=run.why,
        started_by=run.started_by,
    )


def _metric_messages(values: Sequence[Metric]) -> list[training_pb2.Metric]:
    return [
        training_pb2.Metric(
            task=m.task, slice=m.slice, name=m.name, value=m.value, low=m.low, high=m.high, samples=m.samples
        )
        for m in values
    ]


def run_bytes(run: Run) -> bytes:
    """A run as it is kept."""
    return run_message(run).SerializeToString()


def run_from(raw: bytes) -> Run:
    """A run that was kept."""
    message = training_pb2.RunChanged.FromString(raw)
    return Run(
        run_id=message.run_id,
        state=_STATES_BY_NUMBER[message.state],
        dataset=message.dataset,
        dataset_version=message.dataset_version,
        test_set=message.test_set,
        test_set_version=message.test_set_version,
        recipe=message.recipe,
        parent_digest=message.parent_model_digest,
        seed=message.seed,
        why=message.why,
        started_by=message.started_by,
        earliest_detected_at_utc_ns=message.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=message.latest_detected_at_utc_ns,
        changed_at_utc_ns=message.changed_at_utc_ns,
        verdict=_VERDICTS_BY_NUMBER[message.verdict],
        reasons=tuple(message.reasons),
        metrics=_metric_values(message.metrics),
        parent_metrics=_metric_values(message.parent_metrics),
        model_digest=message.model_digest,
        artifact_address=message.artifact_address,
        evaluation_address=message.evaluation_address,
    )


def _metric(m: training_pb2.Metric) -> Metric:
    return Metric(task=m.task, slice=m.slice, name=m.name, value=m.value, low=m.low, high=m.high, samples=m.samples)


def _metric_values(messages: Sequence[training_pb2.Metric]) -> tuple[Metric, ...]:
    return tuple(_metric(message) for message in messages)


def run_event(run: Run) -> Event:
    """The announcement of a run's state."""
    message = run_message(run)
    return event_of(TRAINING, run.run_id, message.event_id, message, run.changed_at_utc_ns)

"""Protobuf and the job's JSON to the orchestrator's model and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import TRAINING
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.protos.training.v1 import training_pb2
from training_orchestrator.model import JobResult, MetricValue, State

STATES = {
    State.QUEUED: training_pb2.RUN_STATE_QUEUED,
    State.RUNNING: training_pb2.RUN_STATE_RUNNING,
    State.EVALUATED: training_pb2.RUN_STATE_EVALUATED,
    State.FAILED: training_pb2.RUN_STATE_FAILED,
}


class ResultError(ValueError):
    """A job's result.json lacks something; the text names the field."""


def job_result(raw: Mapping[str, Any]) -> JobResult:
    """result.json as a value. Raises ResultError that names the field."""
    try:
        return JobResult(
            passed=bool(raw["passed"]),
            reasons=[str(reason) for reason in raw["reasons"]],
            metrics=[_metric(entry) for entry in raw["metrics"]],
            parent_metrics=[_metric(entry) for entry in raw.get("parent_metrics", [])],
            model_digest=str(raw["model_digest"]),
            files={str(name): str(path) for name, path in raw["files"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultError(f"result.json: {type(error).__name__}: {error}") from error


def _metric(entry: Mapping[str, Any]) -> MetricValue:
    return MetricValue(
        task=str(entry["task"]),
        slice=str(entry["slice"]),
        name=str(entry["name"]),
        value=float(entry["value"]),
        low=float(entry["low"]),
        high=float(entry["high"]),
        samples=int(entry["samples"]),
    )


def metrics_of(values: Sequence[MetricValue]) -> list[training_pb2.Metric]:
    """Figures as messages."""
    return [
        training_pb2.Metric(
            task=m.task, slice=m.slice, name=m.name, value=m.value, low=m.low, high=m.high, samples=m.samples
        )
        for m in values
    ]


def run_event(run: training_pb2.RunChanged) -> Event:
    """The announcement of a run's state."""
    return event_of(TRAINING, run.run_id, run.event_id, run, run.changed_at_utc_ns)


def stamp(run: training_pb2.RunChanged, state: State, now_utc_ns: int) -> training_pb2.RunChanged:
    """Puts a run into a state: number, time, and the id that hangs on both."""
    run.state = STATES[state]
    run.changed_at_utc_ns = now_utc_ns
    run.event_id = causal_id("run", run.run_id, state.value)
    return run

"""Protobuf to the desk's model and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.tasks import TaskSchema
from fleetloop.domain.topics import LABEL
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.label.v1 import label_pb2
from label_desk.core import Agreement
from label_desk.model import Assignment, Decision, Frame, Outcome, ProjectProgress, Source, Task, Vote

SOURCES = {
    Source.HUMAN: label_pb2.LABEL_SOURCE_HUMAN,
    Source.HINDSIGHT: label_pb2.LABEL_SOURCE_HINDSIGHT,
    Source.SENSOR: label_pb2.LABEL_SOURCE_SENSOR,
    Source.MODEL: label_pb2.LABEL_SOURCE_MODEL,
}
_SOURCES_BY_NUMBER = {number: source for source, number in SOURCES.items()}
OUTCOMES = {
    Outcome.AGREED: label_pb2.LABEL_OUTCOME_AGREED,
    Outcome.CANNOT_TELL: label_pb2.LABEL_OUTCOME_CANNOT_TELL,
    Outcome.DISPUTED: label_pb2.LABEL_OUTCOME_DISPUTED,
}


def task_in(record: Record) -> Task:
    """The task in a record of fleet.labeltask.v1. Raises UnreadableMessageError when a required field is empty."""
    created = parse(label_pb2.LabelTaskCreated, record)
    for name in ("task_id", "task", "project", "clip_address"):
        if not getattr(created, name):
            raise UnreadableMessageError(f"{name}: is empty; a label task needs it")
    return task_of(created)


def task_of(created: label_pb2.LabelTaskCreated) -> Task:
    """A LabelTaskCreated as a value."""
    return Task(
        task_id=created.task_id,
        project=created.project,
        task=created.task,
        sources=frozenset(_SOURCES_BY_NUMBER[number] for number in created.sources if number in _SOURCES_BY_NUMBER),
        agreement=max(1, created.agreement),
        priority=created.priority,
        clip_address=created.clip_address,
        moment_monotonic_ns=created.moment_monotonic_ns,
        created_at_utc_ns=created.created_at_utc_ns,
        event=created.SerializeToString(),
        vehicle_id=created.provenance.vehicle_id,
    )


def task_from(event: bytes) -> Task:
    """The task whose serialised LabelTaskCreated is kept."""
    return task_of(label_pb2.LabelTaskCreated.FromString(event))


def labelled_event(task: Task, decision: Decision, votes: Sequence[Vote], now_utc_ns: int) -> Event:
    """The SampleLabelled that ends a task. Its id depends on the task only: a task ends once."""
    created = label_pb2.LabelTaskCreated.FromString(task.event)
    event_id = causal_id("labelled", task.task_id)
    message = label_pb2.SampleLabelled(
        event_id=event_id,
        provenance=created.provenance,
        task_id=created.task_id,
        project=created.project,
        dataset=created.dataset,
        task=created.task,
        outcome=OUTCOMES[decision.outcome],
        answers=dict(decision.answers),
        source=SOURCES[decision.source],
        confidence=decision.confidence,
        votes=[
            label_pb2.LabelVote(
                source=SOURCES[vote.source],
                author=vote.author,
                answers=dict(vote.answers),
                confidence=vote.confidence,
                at_utc_ns=vote.at_utc_ns,
            )
            for vote in votes
        ],
        clip_address=created.clip_address,
        moment_utc_ns=created.moment_utc_ns,
        moment_monotonic_ns=created.moment_monotonic_ns,
        place=created.place if created.HasField("place") else None,
        labelled_at_utc_ns=now_utc_ns,
        detected_at_utc_ns=created.detected_at_utc_ns,
    )
    return event_of(LABEL, created.provenance.sample_id, event_id, message, now_utc_ns)


def assignment_message(assignment: Assignment, schema: TaskSchema) -> label_pb2.LabelAssignment:
    """A task as its labeller sees it. Raises TaskSchemaError when the schema has no such task."""
    task, lease = assignment.task, assignment.lease
    return label_pb2.LabelAssignment(
        task=label_pb2.LabelTaskCreated.FromString(task.event),
        lease_id=lease.lease_id,
        lease_expires_at_utc_ns=lease.expires_at_utc_ns,
        questions=_questions(schema, task.task),
    )


def _questions(schema: TaskSchema, task: str) -> list[label_pb2.LabelQuestion]:
    entry = schema.task(task)
    choices = [label_pb2.LabelChoice(name=choice.name, text=choice.text) for choice in entry.answers]
    return [label_pb2.LabelQuestion(task=task, text=entry.question, choices=choices)]


def frame_messages(frames: Iterable[Frame]) -> list[label_pb2.TaskFrame]:
    """Pictures as messages."""
    return [
        label_pb2.TaskFrame(
            camera=frame.camera,
            at_utc_ns=frame.at_utc_ns,
            is_moment=frame.is_moment,
            image=frame.png,
            media_type="image/png",
        )
        for frame in frames
    ]


def progress_messages(projects: Iterable[ProjectProgress]) -> list[label_pb2.ProjectProgress]:
    """Counts as messages."""
    return [
        label_pb2.ProjectProgress(
            project=each.project,
            open=each.open,
            leased=each.leased,
            ended=each.ended,
            oldest_open_s=each.oldest_open_s,
            by_source=each.by_source,
        )
        for each in projects
    ]


def agreement_message(agreement: Agreement, least_agreement: float) -> label_pb2.Agreement:
    """What people found, as a message."""
    low, high = agreement.audits.interval()
    return label_pb2.Agreement(
        source=SOURCES[agreement.source],
        vehicle_id=agreement.vehicle_id,
        agreed=agreement.audits.agreed,
        checked=agreement.audits.checked,
        low=low,
        high=high,
        decides=agreement.audits.may_decide(least_agreement),
    )

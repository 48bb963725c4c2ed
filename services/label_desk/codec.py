"""Protobuf to the desk's model and back."""

from __future__ import annotations

from collections.abc import Sequence

from fleetloop.domain.messages import event_of
from fleetloop.domain.tasks import TaskSchema
from fleetloop.domain.topics import LABEL
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.protos.label.v1 import label_pb2
from label_desk.model import Decision, Outcome, Source, Vote

SOURCES = {
    Source.HUMAN: label_pb2.LABEL_SOURCE_HUMAN,
    Source.HINDSIGHT: label_pb2.LABEL_SOURCE_HINDSIGHT,
    Source.SENSOR: label_pb2.LABEL_SOURCE_SENSOR,
    Source.MODEL: label_pb2.LABEL_SOURCE_MODEL,
}
OUTCOMES = {
    Outcome.AGREED: label_pb2.LABEL_OUTCOME_AGREED,
    Outcome.CANNOT_TELL: label_pb2.LABEL_OUTCOME_CANNOT_TELL,
    Outcome.DISPUTED: label_pb2.LABEL_OUTCOME_DISPUTED,
}


def labelled_event(
    created: label_pb2.LabelTaskCreated, decision: Decision, votes: Sequence[Vote], now_utc_ns: int
) -> Event:
    """The SampleLabelled that ends a task. Its id hangs on the task alone: a task ends once."""
    event_id = causal_id("labelled", created.task_id)
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


def questions_of(schema: TaskSchema, task: str) -> list[label_pb2.LabelQuestion]:
    """What a labeller of `task` is asked. Raises TaskSchemaError when the schema has no such task."""
    entry = schema.task(task)
    choices = [label_pb2.LabelChoice(name=choice.name, text=choice.text) for choice in entry.answers]
    return [label_pb2.LabelQuestion(task=task, text=entry.question, choices=choices)]

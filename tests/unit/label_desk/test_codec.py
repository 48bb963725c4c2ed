"""Label tasks as they are read, and what a task repeats of the event that created it."""

from __future__ import annotations

import pytest

from fleetloop.domain.topics import LABEL_TASK
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from label_desk.codec import labelled_event, task_from, task_in
from label_desk.model import Decision, Outcome, Source


def created(**changes: str) -> label_pb2.LabelTaskCreated:
    fields = {"task_id": "t1", "task": "stop_sign", "project": "signs", "clip_address": "c"} | changes
    return label_pb2.LabelTaskCreated(
        **fields,  # type: ignore[arg-type]
        sources=[label_pb2.LABEL_SOURCE_HUMAN, label_pb2.LABEL_SOURCE_UNSPECIFIED],
        provenance=provenance_pb2.Provenance(sample_id="s1", vehicle_id="car"),
        place=provenance_pb2.Place(latitude_deg=1.5),
    )


def record(message: label_pb2.LabelTaskCreated) -> Record:
    return Record(LABEL_TASK, 0, 0, b"", message.SerializeToString(), [], 0)


@pytest.mark.parametrize("field", ["task_id", "task", "project", "clip_address"])
def test_a_task_without_what_the_desk_needs_is_unreadable(field: str) -> None:
    with pytest.raises(UnreadableMessageError, match=f"{field}: is empty"):
        task_in(record(created(**{field: ""})))


def test_a_task_knows_who_is_asked_and_asks_at_least_one() -> None:
    task = task_in(record(created()))
    assert (task.sources, task.agreement) == (frozenset({Source.HUMAN}), 1)
    assert task_from(task.event) == task


def test_the_label_repeats_the_provenance_and_place_of_its_task() -> None:
    event = labelled_event(
        task_in(record(created())), Decision(Outcome.AGREED, {"stop_sign": "held"}, Source.HUMAN, 1), [], 9
    )
    labelled = label_pb2.SampleLabelled.FromString(event.payload)
    assert event.key == "s1"
    assert (labelled.provenance.vehicle_id, labelled.place.latitude_deg) == ("car", 1.5)
    assert (dict(labelled.answers), labelled.labelled_at_utc_ns) == ({"stop_sign": "held"}, 9)

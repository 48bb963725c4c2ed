"""Labels as they are read, and versions as they are kept and announced."""

from __future__ import annotations

import pytest

from dataset_curator.codec import (
    import_answer,
    labelled_from,
    labelled_in,
    version_bytes,
    version_event,
    version_from,
    version_in_answer,
    version_message,
)
from dataset_curator.model import DatasetVersion, Retraction, RowSelector, TriggerCount
from fleetloop.domain.topics import LABEL
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2

VERSION = DatasetVersion(
    event_id="c1", dataset="town", version="v2", parent="v1", samples=10, added=3,
    by_trigger=(TriggerCount("flicker", 2, 3),), diff_address="diff", table_address="table", lance_tag="v2",
    reason="labels", committed_at_utc_ns=9, earliest_detected_at_utc_ns=4, latest_detected_at_utc_ns=5, frozen=True,
    refused={"in_test_set": 2}, task_schema_version="town-1", added_sample_ids=("a", "b", "c"),
    detected_at_utc_ns=(4, 4, 5),
    content_digest="c" * 64, removed=1,
    retraction=Retraction(
        RowSelector(trigger="flicker", trigger_version=2), "user/ann", "v1", {"night": 1},
        (TriggerCount("flicker", 2, 1),), ("d",), (3,),
    ),
)  # fmt: skip
ORIGIN = provenance_pb2.Provenance(sample_id="s", vehicle_id="car", trigger="flicker", trigger_version=2)


def labelled(**changes: object) -> Record:
    fields = {
        "dataset": "town", "task": "stop_sign", "answers": {"stop_sign": "plain"},
        "outcome": label_pb2.LABEL_OUTCOME_AGREED, "source": label_pb2.LABEL_SOURCE_HINDSIGHT,
        "provenance": ORIGIN,
    } | changes  # fmt: skip
    message = label_pb2.SampleLabelled(**fields)  # type: ignore[arg-type]
    return Record(LABEL, 0, 0, b"", message.SerializeToString(), [], 0)


def test_an_agreed_label_is_a_moment_with_its_origin() -> None:
    moment = labelled_in(labelled(place=provenance_pb2.Place(latitude_deg=1.5, longitude_deg=2.5)))
    assert moment is not None
    assert (moment.sample_id, moment.choice, moment.label_source) == ("s", "plain", "hindsight")
    assert (moment.vehicle_id, moment.trigger, moment.trigger_version) == ("car", "flicker", 2)
    assert moment.position_deg == (1.5, 2.5)
    assert labelled_from(moment.event) == moment


def test_a_moment_may_have_no_position() -> None:
    moment = labelled_in(labelled())
    assert moment is not None and moment.position_deg is None


@pytest.mark.parametrize("outcome", [label_pb2.LABEL_OUTCOME_CANNOT_TELL, label_pb2.LABEL_OUTCOME_DISPUTED])
def test_a_label_that_was_not_agreed_is_no_sample(outcome: label_pb2.LabelOutcome.ValueType) -> None:
    assert labelled_in(labelled(outcome=outcome)) is None


@pytest.mark.parametrize(
    "changes", [{"dataset": ""}, {"provenance": provenance_pb2.Provenance()}, {"answers": {"speed": "x"}}]
)
def test_an_agreed_label_without_what_a_sample_needs_is_unreadable(changes: dict[str, object]) -> None:
    with pytest.raises(UnreadableMessageError, match="must be set in a label"):
        labelled_in(labelled(**changes))


def test_a_version_is_kept_and_answered_with_every_field() -> None:
    assert version_from(version_bytes(VERSION)) == VERSION
    assert version_in_answer(import_answer(VERSION)) == VERSION
    names = {field.name for field, _ in version_message(VERSION).ListFields()}
    assert names == set(dataset_pb2.DatasetCommitted.DESCRIPTOR.fields_by_name)


def test_a_version_is_announced_under_the_id_of_its_commit() -> None:
    event = version_event(VERSION)
    assert (event.key, event.event_id, event.time_utc_ns) == ("town", "c1", 9)

"""Protobuf to the curator's model and back."""

from __future__ import annotations

from dataset_curator.model import DatasetVersion, LabelledMoment, TriggerCount
from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.topics import DATASET
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2

_SOURCES = {
    label_pb2.LABEL_SOURCE_HUMAN: "human",
    label_pb2.LABEL_SOURCE_HINDSIGHT: "hindsight",
    label_pb2.LABEL_SOURCE_SENSOR: "sensor",
    label_pb2.LABEL_SOURCE_MODEL: "model",
}


def labelled_in(record: Record) -> LabelledMoment | None:
    """The label in a record of fleet.label.v1; None unless it was agreed.

    Raises UnreadableMessageError when an agreed label lacks its dataset, its sample or its answer.
    """
    labelled = parse(label_pb2.SampleLabelled, record)
    if labelled.outcome != label_pb2.LABEL_OUTCOME_AGREED:
        return None
    if not labelled.dataset or not labelled.provenance.sample_id or labelled.task not in labelled.answers:
        raise UnreadableMessageError("dataset, provenance.sample_id and answers[task] must be set in a label")
    return labelled_of(labelled)


def labelled_of(labelled: label_pb2.SampleLabelled) -> LabelledMoment:
    """A SampleLabelled as a value."""
    origin, place = labelled.provenance, labelled.place
    return LabelledMoment(
        sample_id=origin.sample_id,
        dataset=labelled.dataset,
        task=labelled.task,
        choice=labelled.answers[labelled.task],
        clip_address=labelled.clip_address,
        moment_utc_ns=labelled.moment_utc_ns,
        moment_monotonic_ns=labelled.moment_monotonic_ns,
        position_deg=(place.latitude_deg, place.longitude_deg) if labelled.HasField("place") else None,
        vehicle_id=origin.vehicle_id,
        clip_id=origin.clip_id,
        firing_id=origin.firing_id,
        trigger=origin.trigger,
        trigger_version=origin.trigger_version,
        campaign=origin.campaign,
        model_digest=origin.model_digest,
        label_source=_SOURCES.get(labelled.source, ""),
        label_confidence=labelled.confidence,
        labelled_at_utc_ns=labelled.labelled_at_utc_ns,
        detected_at_utc_ns=labelled.detected_at_utc_ns,
        event=labelled.SerializeToString(),
    )


def labelled_from(event: bytes) -> LabelledMoment:
    """The labelled moment whose serialised SampleLabelled is kept."""
    return labelled_of(label_pb2.SampleLabelled.FromString(event))


def version_message(version: DatasetVersion) -> dataset_pb2.DatasetCommitted:
    """A version as a message."""
    return dataset_pb2.DatasetCommitted(
        event_id=version.event_id,
        dataset=version.dataset,
        version=version.version,
        parent=version.parent,
        samples=version.samples,
        added=version.added,
        by_trigger=[
            dataset_pb2.TriggerCount(trigger=each.trigger, version=each.version, samples=each.samples)
            for each in version.by_trigger
        ],
        diff_address=version.diff_address,
        table_address=version.table_address,
        lance_tag=version.lance_tag,
        reason=version.reason,
        committed_at_utc_ns=version.committed_at_utc_ns,
        earliest_detected_at_utc_ns=version.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=version.latest_detected_at_utc_ns,
        frozen=version.frozen,
        refused=version.refused,
        task_schema_version=version.task_schema_version,
        added_sample_ids=version.added_sample_ids,
        detected_at_utc_ns=version.detected_at_utc_ns,
        content_digest=version.content_digest,
    )


def version_of(message: dataset_pb2.DatasetCommitted) -> DatasetVersion:
    """A DatasetCommitted as a value."""
    return DatasetVersion(
        event_id=message.event_id,
        dataset=message.dataset,
        version=message.version,
        parent=message.parent,
        samples=message.samples,
        added=message.added,
        by_trigger=tuple(TriggerCount(each.trigger, each.version, each.samples) for each in message.by_trigger),
        diff_address=message.diff_address,
        table_address=message.table_address,
        lance_tag=message.lance_tag,
        reason=message.reason,
        committed_at_utc_ns=message.committed_at_utc_ns,
        earliest_detected_at_utc_ns=message.earliest_detected_at_utc_ns,
        latest_detected_at_utc_ns=message.latest_detected_at_utc_ns,
        frozen=message.frozen,
        refused=dict(message.refused),
        task_schema_version=message.task_schema_version,
        added_sample_ids=tuple(message.added_sample_ids),
        detected_at_utc_ns=tuple(message.detected_at_utc_ns),
        content_digest=message.content_digest,
    )


def version_bytes(version: DatasetVersion) -> bytes:
    """A version as it is kept."""
    return version_message(version).SerializeToString()


def version_from(raw: bytes) -> DatasetVersion:
    """A version that was kept."""
    return version_of(dataset_pb2.DatasetCommitted.FromString(raw))


def version_event(version: DatasetVersion) -> Event:
    """The announcement of a version."""
    message = version_message(version)
    return event_of(DATASET, version.dataset, version.event_id, message, version.committed_at_utc_ns)


def import_answer(version: DatasetVersion) -> bytes:
    """The answer to the import request that made a version, as it is kept."""
    return dataset_pb2.ImportDatasetResponse(committed=version_message(version)).SerializeToString()


def version_in_answer(answer: bytes) -> DatasetVersion:
    """The version in the answer to an import request."""
    return version_of(dataset_pb2.ImportDatasetResponse.FromString(answer).committed)

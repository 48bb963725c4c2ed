"""Protobuf to the curator's model and back."""

from __future__ import annotations

from collections.abc import Iterable

from dataset_curator.model import (
    DatasetCuration,
    DatasetVersion,
    LabelledMoment,
    Retraction,
    RetractionRule,
    RowSelector,
    TriggerCount,
)
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
        by_trigger=_count_messages(version.by_trigger),
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
        changed=version.removed,
        retraction=None if version.retraction is None else _retraction_message(version.retraction),
    )


def _count_messages(counts: Iterable[TriggerCount]) -> list[dataset_pb2.TriggerCount]:
    return [
        dataset_pb2.TriggerCount(trigger=each.trigger, version=each.version, samples=each.samples) for each in counts
    ]


def _counts(messages: Iterable[dataset_pb2.TriggerCount]) -> tuple[TriggerCount, ...]:
    return tuple(TriggerCount(each.trigger, each.version, each.samples) for each in messages)


def selector_message(rows: RowSelector) -> dataset_pb2.RowSelector:
    """A selector as a message."""
    return dataset_pb2.RowSelector(
        vehicle_id=rows.vehicle_id,
        clip_id=rows.clip_id,
        trigger=rows.trigger,
        trigger_version=rows.trigger_version,
        label_source=rows.label_source,
    )


def selector_of(message: dataset_pb2.RowSelector) -> RowSelector:
    """A RowSelector as a value."""
    return RowSelector(
        message.vehicle_id, message.clip_id, message.trigger, message.trigger_version, message.label_source
    )


def _retraction_message(retraction: Retraction) -> dataset_pb2.Retraction:
    return dataset_pb2.Retraction(
        rows=selector_message(retraction.rows),
        retracted_by=retraction.by,
        first_version=retraction.first_version,
        removed_by_slice=retraction.by_slice,
        removed_by_trigger=_count_messages(retraction.by_trigger),
        removed_sample_ids=retraction.sample_ids,
        removed_detected_at_utc_ns=retraction.detected_at_utc_ns,
    )


def _retraction_of(message: dataset_pb2.Retraction) -> Retraction:
    return Retraction(
        rows=selector_of(message.rows),
        by=message.retracted_by,
        first_version=message.first_version,
        by_slice=dict(message.removed_by_slice),
        by_trigger=_counts(message.removed_by_trigger),
        sample_ids=tuple(message.removed_sample_ids),
        detected_at_utc_ns=tuple(message.removed_detected_at_utc_ns),
    )


def rule_message(rule: RetractionRule) -> dataset_pb2.RetractionRule:
    """A rule as a message."""
    return dataset_pb2.RetractionRule(
        dataset=rule.dataset,
        rows=selector_message(rule.rows),
        version=rule.version,
        first_version=rule.first_version,
        retracted_by=rule.by,
        reason=rule.reason,
        retracted_at_utc_ns=rule.at_utc_ns,
        readmitted_at_utc_ns=rule.readmitted_at_utc_ns,
        readmitted_by=rule.readmitted_by,
    )


def curation_message(curation: DatasetCuration) -> dataset_pb2.DatasetCuration:
    """What a dataset lacks, as a message."""
    return dataset_pb2.DatasetCuration(
        dataset=curation.dataset,
        waiting=curation.waiting,
        retractions=map(rule_message, curation.retractions),
        held=[
            dataset_pb2.HeldSamples(vehicle_id=each.vehicle_id, held=each.held, samples=each.samples)
            for each in curation.held
        ],
        vehicle_samples=curation.vehicle_samples,
        most_of_a_vehicle=curation.most_of_a_vehicle,
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
        by_trigger=_counts(message.by_trigger),
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
        removed=message.changed,
        retraction=_retraction_of(message.retraction) if message.HasField("retraction") else None,
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


def retraction_answer(version: DatasetVersion | None, discarded_waiting: int) -> bytes:
    """The answer to a request for a retraction, as it is kept."""
    return dataset_pb2.RetractRowsResponse(
        committed=None if version is None else version_message(version), discarded_waiting=discarded_waiting
    ).SerializeToString()

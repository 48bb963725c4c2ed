"""The Kafka shell: follows every firing through the loop and counts what became of it."""

from __future__ import annotations

from collections.abc import Mapping

from campaign_keeper import transactions
from campaign_keeper.model import Count
from fleet.clip.v1 import clip_pb2
from fleet.dataset.v1 import dataset_pb2
from fleet.label.v1 import label_pb2
from fleet.trigger.v1 import trigger_pb2
from fleetdomain.messages import parse
from fleetdomain.topics import CLIP, DATASET, LABEL, LABEL_TASK, TRIGGER
from fleetkit.clock import Clock
from fleetkit.database import Transaction
from fleetkit.inbox import Effect
from fleetkit.kafka import Record


def take_firing(tx: Transaction, record: Record) -> None:
    """A trigger fired."""
    fired = parse(trigger_pb2.TriggerFired, record)
    origin = fired.provenance
    transactions.note_firing(
        tx, fired.event_id, origin.campaign, origin.trigger, origin.trigger_version, fired.detected_at_utc_ns
    )


def take_clip(tx: Transaction, record: Record) -> None:
    """A clip was stored."""
    stored = parse(clip_pb2.ClipStored, record)
    transactions.count_for_firing(tx, stored.provenance.firing_id, Count.CLIPS)
    transactions.count_for_firing(tx, stored.provenance.firing_id, Count.CLIP_BYTES, stored.size_bytes)


def take_label_task(tx: Transaction, record: Record) -> None:
    """The router wanted a label."""
    created = parse(label_pb2.LabelTaskCreated, record)
    transactions.count_for_firing(tx, created.provenance.firing_id, Count.TASKS)


def take_dataset(tx: Transaction, record: Record) -> None:
    """A dataset version kept samples. Counted by trigger version: the diff names each sample."""
    committed = parse(dataset_pb2.DatasetCommitted, record)
    for row in committed.by_trigger:
        if row.trigger:
            transactions.count_for_trigger(tx, row.trigger, row.version, Count.KEPT, row.samples)


def effects(clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def take_label(tx: Transaction, record: Record) -> None:
        """A label was agreed; it may have been the last one wanted."""
        labelled = parse(label_pb2.SampleLabelled, record)
        if labelled.outcome != label_pb2.LABEL_OUTCOME_AGREED:
            return
        counted = transactions.count_for_firing(tx, labelled.provenance.firing_id, Count.LABELLED)
        if counted is not None:
            firing, accepted = counted
            transactions.close_when_met(tx, firing, accepted, clock.now_utc_ns())

    return {
        TRIGGER: take_firing,
        CLIP: take_clip,
        LABEL_TASK: take_label_task,
        LABEL: take_label,
        DATASET: take_dataset,
    }

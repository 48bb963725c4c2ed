"""The Kafka shell: follows every firing through the loop and counts what became of it."""

from __future__ import annotations

from collections.abc import Mapping

from campaign_keeper import ledger, transactions
from campaign_keeper.model import Count
from fleetloop.domain.messages import parse
from fleetloop.domain.topics import CLIP, DATASET, LABEL, LABEL_TASK, TRIGGER
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2


def effects(clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def take_firing(tx: Transaction, record: Record) -> None:
        """A trigger fired."""
        fired = parse(trigger_pb2.TriggerFired, record)
        origin = fired.provenance
        ledger.note_firing(
            tx, fired.event_id, origin.campaign, origin.trigger, origin.trigger_version, clock.now_utc_ns()
        )

    def take_clip(tx: Transaction, record: Record) -> None:
        """A clip was stored."""
        stored = parse(clip_pb2.ClipStored, record)
        firing_id, now_ns = stored.provenance.firing_id, clock.now_utc_ns()
        ledger.count_for_firing(tx, firing_id, Count.CLIPS, now_ns)
        ledger.count_for_firing(tx, firing_id, Count.CLIP_BYTES, now_ns, stored.size_bytes)

    def take_label_task(tx: Transaction, record: Record) -> None:
        """The router wanted a label."""
        created = parse(label_pb2.LabelTaskCreated, record)
        ledger.count_for_origin(tx, created.provenance, Count.TASKS, clock.now_utc_ns())

    def take_label(tx: Transaction, record: Record) -> None:
        """A label was agreed; it may have been the last one wanted."""
        labelled = parse(label_pb2.SampleLabelled, record)
        if labelled.outcome != label_pb2.LABEL_OUTCOME_AGREED:
            return
        now_ns = clock.now_utc_ns()
        counted = ledger.count_for_origin(tx, labelled.provenance, Count.LABELLED, now_ns)
        if counted is not None:
            transactions.close_when_met(tx, counted.campaign, counted.trigger, counted.version, counted.value, now_ns)

    def take_dataset(tx: Transaction, record: Record) -> None:
        """A dataset version kept samples. Counted by trigger version: the diff names each sample."""
        committed = parse(dataset_pb2.DatasetCommitted, record)
        if not ledger.first_count(tx, committed.event_id):
            return
        for row in committed.by_trigger:
            if row.trigger:
                ledger.count_for_trigger(tx, row.trigger, row.version, Count.KEPT, row.samples)

    return {
        TRIGGER: take_firing,
        CLIP: take_clip,
        LABEL_TASK: take_label_task,
        LABEL: take_label,
        DATASET: take_dataset,
    }

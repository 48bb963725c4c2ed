"""The Kafka shell: follows every firing through the loop and counts its outcome."""

from __future__ import annotations

from collections.abc import Mapping

from campaign_keeper.codec import clip_in, commit_in, firing_in, label_in, label_task_in
from campaign_keeper.model import Count
from campaign_keeper.transactions import campaigns, ledger
from fleetloop.domain.topics import CLIP, DATASET, LABEL, LABEL_TASK, TRIGGER
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.storage.database import Transaction
from fleetloop.kit.storage.inbox import Effect


def effects(clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def on_firing(tx: Transaction, record: Record) -> None:
        """A trigger fired."""
        fired, now_ns = firing_in(record), clock.now_utc_ns()
        ledger.record_firing(tx, fired.firing_id, fired.campaign, fired.trigger, fired.trigger_version, now_ns)

    def on_clip(tx: Transaction, record: Record) -> None:
        """A clip was stored."""
        (firing_id, size_bytes), now_ns = clip_in(record), clock.now_utc_ns()
        ledger.count_for_firing(tx, firing_id, Count.CLIPS, now_ns)
        ledger.count_for_firing(tx, firing_id, Count.CLIP_BYTES, now_ns, size_bytes)

    def on_label_task(tx: Transaction, record: Record) -> None:
        """The router asked for a label."""
        ledger.count_for_origin(tx, label_task_in(record), Count.TASKS, clock.now_utc_ns())

    def on_label(tx: Transaction, record: Record) -> None:
        """A label task ended. An agreed label may be the last one of its trigger's quota."""
        origin, now_ns = label_in(record), clock.now_utc_ns()
        if origin is None:
            return
        counted = ledger.count_for_origin(tx, origin, Count.LABELLED, now_ns)
        if counted is not None:
            campaigns.end_when_quota_is_met(
                tx, counted.campaign, counted.trigger, counted.version, counted.value, now_ns
            )

    def on_dataset(tx: Transaction, record: Record) -> None:
        """A dataset has a new version. Its samples are counted by trigger version: the diff names each sample."""
        commit_id, kept = commit_in(record)
        if ledger.first_count(tx, commit_id):
            for trigger, version, samples in kept:
                ledger.count_for_trigger(tx, trigger, version, Count.KEPT, samples)

    return {TRIGGER: on_firing, CLIP: on_clip, LABEL_TASK: on_label_task, LABEL: on_label, DATASET: on_dataset}

"""Reads all topics of a run, each message once, by a consumer that lives only while it reads.

A nemesis may kill the broker at any time, so nothing is kept open: each call continues where the last one ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.chaos.observed import DeadLetter, Ended, Fired

from fleetloop.domain import topics as names
from fleetloop.kit.messaging.events import header
from fleetloop.kit.messaging.topics import DLQ_SUFFIX
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

TOPICS = tuple(value for name, value in sorted(vars(names).items()) if name.isupper() and isinstance(value, str))
_OUTCOMES = {
    label_pb2.LABEL_OUTCOME_AGREED: "agreed",
    label_pb2.LABEL_OUTCOME_CANNOT_TELL: "cannot_tell",
    label_pb2.LABEL_OUTCOME_DISPUTED: "disputed",
}


def mark_of(key: bytes | None, value: bytes | None) -> str:
    """Identify a message by its content: in a dead-letter queue it has the key and value that it had before."""
    return hashlib.sha256((key or b"") + b"\0" + (value or b"")).hexdigest()


@dataclass(slots=True)
class Said:
    """What the topics have said so far, as the oracle needs it."""

    fired: list[Fired] = field(default_factory=list)
    clips: dict[str, str] = field(default_factory=dict)
    clip_of: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    versions: dict[str, dataset_pb2.DatasetCommitted] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)

    def kept(self) -> dict[tuple[str, int], int]:
        """(trigger, version) -> samples in all dataset versions, each of which counts once."""
        counts: dict[tuple[str, int], int] = {}
        for version in self.versions.values():
            for row in version.by_trigger:
                counts[row.trigger, row.version] = counts.get((row.trigger, row.version), 0) + row.samples
        return counts

    def take(self, message: Any, planted: Callable[[str], bool]) -> None:
        """Add one message. A planted one is not part of what the services have said."""
        if message.topic.endswith(DLQ_SUFFIX):
            origin = "/".join(header(message.headers, f"origin_{part}") or "?" for part in _ORIGIN)
            service, error = header(message.headers, "dead_lettered_by"), header(message.headers, "error")
            mark = mark_of(message.key, message.value)
            self.dead_letters.append(DeadLetter(mark, service or "?", origin, error or "?"))
        elif message.topic in _READERS and not planted(mark_of(message.key, message.value)):
            _READERS[message.topic](self, message.value)

    def _firing(self, value: bytes) -> None:
        fired = trigger_pb2.TriggerFired.FromString(value)
        origin = fired.provenance
        self.fired.append(
            Fired(fired.event_id, origin.trigger, origin.trigger_version, origin.vehicle_id, fired.onset_monotonic_ns)
        )

    def _clip(self, value: bytes) -> None:
        stored = clip_pb2.ClipStored.FromString(value)
        self.clips[stored.event_id] = stored.provenance.firing_id
        self.clip_of[stored.provenance.firing_id] = stored.sha256

    def _task(self, value: bytes) -> None:
        task = label_pb2.LabelTaskCreated.FromString(value)
        self.tasks[task.task_id] = task.provenance.firing_id

    def _label(self, value: bytes) -> None:
        label = label_pb2.SampleLabelled.FromString(value)
        self.ended.append(
            Ended(label.event_id, label.task_id, label.provenance.sample_id, _OUTCOMES.get(label.outcome, "?"))
        )

    def _version(self, value: bytes) -> None:
        version = dataset_pb2.DatasetCommitted.FromString(value)
        self.versions[version.event_id] = version


_ORIGIN = ("topic", "partition", "offset")
_READERS: dict[str, Callable[[Said, bytes], None]] = {
    names.TRIGGER: Said._firing,
    names.CLIP: Said._clip,
    names.LABEL_TASK: Said._task,
    names.LABEL: Said._label,
    names.DATASET: Said._version,
}


class TopicLog:
    """Everything that the topics of a run have said."""

    def __init__(self, bootstrap_servers: str, planted: Callable[[str], bool]) -> None:
        """`planted` says whether a message with this mark was planted by the harness."""
        self._bootstrap_servers = bootstrap_servers
        self._planted = planted
        self._positions: dict[TopicPartition, int] = {}
        self.said = Said()

    async def read_on(self, topics: Sequence[str] = tuple(_READERS)) -> Said:
        """Read up to the present ends of these topics and of all dead-letter queues. Raises KafkaError."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers, isolation_level="read_committed")
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            wanted = [*topics, *(topic + DLQ_SUFFIX for topic in TOPICS)]
            partitions = [
                TopicPartition(t, p) for t in wanted for p in sorted(consumer.partitions_for_topic(t) or ())
            ]
            ends = await consumer.end_offsets(partitions)
            behind = [each for each in partitions if self._positions.get(each, 0) < ends[each]]
            if not behind:
                return self.said
            consumer.assign(behind)
            for partition in behind:
                consumer.seek(partition, self._positions.get(partition, 0))
            while [each for each in behind if await consumer.position(each) < ends[each]]:
                for partition, messages in (await consumer.getmany(timeout_ms=500)).items():
                    for message in messages:
                        self.said.take(message, self._planted)
                        self._positions[partition] = message.offset + 1
            for partition in behind:  # the end may be a transaction's marker, which is no message
                self._positions[partition] = max(self._positions.get(partition, 0), ends[partition])
        finally:
            await consumer.stop()
        return self.said

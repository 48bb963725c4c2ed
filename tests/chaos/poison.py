"""Messages that must be refused, each with who must refuse it. Add an input here when a hole is closed.

An input without a topic is sent through the gateway by an enrolled vehicle and must be refused at the door, with a
typed error. Any other is written to its topic by a producer, as a compromised or broken one could, and must end up in
the dead-letter queue of every service that reads the topic. All others must go on as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from tests.chaos.vehicle import FRAMES, Rates, S, make_batch

from fleetloop.domain import topics
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.events import Event, to_headers
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

VEHICLE = "chaos-poison"
"""The vehicle, enrolled like any other, that sends what must be refused."""
Headers = list[tuple[str, bytes | None]]
READERS: dict[str, frozenset[str]] = {
    topics.INGEST: frozenset({"telemetry-gateway"}),
    topics.TELEMETRY: frozenset({"trigger-detector", "telemetry-archiver"}),
    topics.HEALTH: frozenset({"fleet-monitor", "rollout-controller"}),
    topics.CLIP: frozenset({"label-router", "campaign-keeper"}),
    topics.TRIGGER: frozenset({"label-router", "campaign-keeper"}),
    topics.LABEL_TASK: frozenset({"label-desk", "campaign-keeper"}),
    topics.LABEL: frozenset({"dataset-curator", "campaign-keeper"}),
    topics.DATASET: frozenset({"training-orchestrator", "rollout-controller", "campaign-keeper"}),
}
"""Topic -> the services that set aside what they cannot read of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is ready to be sent."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Poison:
    """One input that must be refused."""

    name: str
    topic: str
    refused_by: frozenset[str]
    make: Callable[[Random, str, int], Message]
    """From chance, the fleet, and the present in nanoseconds UTC. Two calls never make the same message."""


def _headers(topic: str, value: bytes, rng: Random, now_ns: int) -> Headers:
    event = Event(topic, VEHICLE, f"{rng.getrandbits(128):032x}", "poison", value, now_ns)
    return list(to_headers(event, "chaos"))


def _malformed(topic: str) -> Callable[[Random, str, int], Message]:
    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        value = b"\x0f" + rng.randbytes(20)  # field 1 with wire type 7, which does not exist
        return Message(VEHICLE.encode(), value, _headers(topic, value, rng, now_ns))

    return make


def _nameless(
    topic: str, value: Callable[[Random], bytes], headers: Headers
) -> Callable[[Random, str, int], Message]:
    """A message without the id of an event: with none of its headers, or with a header that has no value."""

    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        return Message(VEHICLE.encode(), value(rng), headers)

    return make


def _batch(rng: Random, fleet: str, now_ns: int) -> telemetry_pb2.TelemetryBatch:
    batch = make_batch(fleet, VEHICLE, rng.randbytes(12), rng.randrange(2**20), S, now_ns - S, Rates())
    return encode_batch(batch)


def _changed(change: Callable[[telemetry_pb2.TelemetryBatch], None]) -> Callable[[Random, str, int], Message]:
    """An honest batch with one change."""

    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        batch = _batch(rng, fleet, now_ns)
        change(batch)
        return Message(VEHICLE.encode(), batch.SerializeToString(), [])

    return make


def _not_a_number(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.columns[0].values = np.full(FRAMES, np.nan, np.float32).tobytes()


def _backwards(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.frame_offsets_ns = np.arange(FRAMES, dtype=np.int64)[::-1].tobytes()


def _foreign(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.vehicle_id = "chaos-000"


def _no_boot(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.boot_id = b""


def _half_a_value(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.columns[0].values += b"\0"


def _stranger(rng: Random, fleet: str, now_ns: int) -> Message:
    batch = _batch(rng, fleet, now_ns)
    batch.vehicle_id = "never-enrolled"
    return Message(b"never-enrolled", batch.SerializeToString(), [])


def _report_of_another(rng: Random, fleet: str, now_ns: int) -> Message:
    report = health_pb2.VehicleReport(vehicle_id="chaos-000", boot_id=rng.randbytes(12), sequence=1)
    return Message(VEHICLE.encode(), report.SerializeToString(), [])


def _firing(rng: Random) -> bytes:
    return trigger_pb2.TriggerFired(event_id=rng.randbytes(16).hex()).SerializeToString()


def _task(rng: Random) -> bytes:
    return label_pb2.LabelTaskCreated(task_id=rng.randbytes(16).hex()).SerializeToString()


def _label(rng: Random) -> bytes:
    return label_pb2.SampleLabelled(event_id=rng.randbytes(16).hex()).SerializeToString()


_BATCH_CHANGES = {
    "NaN where the catalogue forbids it": _not_a_number,
    "time runs backwards": _backwards,
    "another vehicle's batch": _foreign,
    "a batch without a boot": _no_boot,
    "half a value": _half_a_value,
}
_NAMELESS = {topics.TRIGGER: _firing, topics.LABEL_TASK: _task, topics.LABEL: _label}
_EMPTY_HEADERS: Headers = [("ce_id", None), ("ce_time", None)]

POISON: tuple[Poison, ...] = (
    *(Poison(f"bytes that are no message on {topic}", topic, by, _malformed(topic)) for topic, by in READERS.items()),
    *(
        Poison(f"no headers on {topic}", topic, READERS[topic], _nameless(topic, value, []))
        for topic, value in _NAMELESS.items()
    ),
    *(
        Poison(f"headers without a value on {topic}", topic, READERS[topic], _nameless(topic, value, _EMPTY_HEADERS))
        for topic, value in _NAMELESS.items()
    ),
    Poison("no headers, and another vehicle's report", topics.HEALTH, READERS[topics.HEALTH], _report_of_another),
    *(Poison(f"{name}, over Kafka", topics.INGEST, READERS[topics.INGEST], _changed(change))
      for name, change in _BATCH_CHANGES.items()),
    Poison("a batch of a vehicle that is not enrolled", topics.INGEST, READERS[topics.INGEST], _stranger),
    *(Poison(f"{name}, at the door", "", frozenset(), _changed(change)) for name, change in _BATCH_CHANGES.items()),
)  # fmt: skip

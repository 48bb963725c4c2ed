"""Messages that must be refused, each with who must refuse it. Add an input here when a hole is closed.

An input without a topic is sent through the gateway by an enrolled vehicle and must be refused at the door, with a
typed error. Any other is written to its topic by a producer, as a compromised or broken one could, and must end up in
the dead-letter queue of every service that reads the topic. All others must go on as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from tests.chaos.vehicle import FRAMES, Rates, S, make_batch

from fleetloop.domain import topics
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.events import Event, to_headers
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.common.v1 import provenance_pb2
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


Make = Callable[[Random, str, int], Message]
"""From chance, the fleet, and the present in nanoseconds UTC. Two calls never make the same message."""


@dataclass(frozen=True, slots=True)
class Poison:
    """One input that must be refused."""

    name: str
    topic: str
    """Topic that it is written to, or empty for what is sent through the gateway."""
    refused_by: frozenset[str]
    make: Make
    rpc: str = ""
    """Method that it is sent with: StreamTelemetry, ReportHealth or UploadClip, or the keeper's SetCampaignState."""


def _headers(topic: str, value: bytes, rng: Random, now_ns: int) -> Headers:
    event = Event(topic, VEHICLE, f"{rng.getrandbits(128):032x}", "poison", value, now_ns)
    return list(to_headers(event, "chaos"))


def _malformed(topic: str) -> Make:
    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        value = b"\x0f" + rng.randbytes(20)  # field 1 with wire type 7, which does not exist
        return Message(VEHICLE.encode(), value, _headers(topic, value, rng, now_ns))

    return make


def _nameless(value: Callable[[Random], bytes], headers: Headers) -> Make:
    """A message without the id of an event: with none of its headers, or with a header that has no value."""

    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        return Message(VEHICLE.encode(), value(rng), headers)

    return make


def _changed(change: Callable[[telemetry_pb2.TelemetryBatch], None]) -> Make:
    """An honest batch with one change."""

    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        honest = make_batch(fleet, VEHICLE, rng.randbytes(12), rng.randrange(2**20), S, now_ns - S, Rates())
        batch = encode_batch(honest)
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


def _huge_sequence(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.sequence = 2**63


def _foreign_letter(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.model_digest = "é"


def _endless_digest(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.model_digest = "a" * 80_000


def _words_for_numbers(batch: telemetry_pb2.TelemetryBatch) -> None:
    batch.columns[0].dictionary.append("fast")


def _words_for_nothing(batch: telemetry_pb2.TelemetryBatch) -> None:
    column = batch.columns.add(signal="Perception.LeadVehicle.Distance", type=telemetry_pb2.VALUE_TYPE_FLOAT32)
    column.values = np.full(FRAMES, np.nan, np.float32).tobytes()
    column.dictionary.append("far")


def _tracks_without_ids(batch: telemetry_pb2.TelemetryBatch) -> None:
    column = batch.columns.add(signal="Perception.Tracks.Distance", type=telemetry_pb2.VALUE_TYPE_FLOAT32)
    column.values = np.ones(FRAMES, np.float32).tobytes()
    column.splits = np.arange(FRAMES + 1, dtype=np.uint32).tobytes()


_BATCHES = {
    "NaN where the catalogue forbids it": _not_a_number,
    "time runs backwards": _backwards,
    "another vehicle's batch": _foreign,
    "a batch without a boot": _no_boot,
    "half a value": _half_a_value,
    "a batch with sequence 2^63": _huge_sequence,
    "a model digest with a letter that is not ASCII": _foreign_letter,
    "a model digest of 80,000 characters": _endless_digest,
    "a dictionary on numbers": _words_for_numbers,
    "a dictionary on a column of NaN": _words_for_nothing,
    "tracks without their ids": _tracks_without_ids,
}


def _stranger(rng: Random, fleet: str, now_ns: int) -> Message:
    message = _changed(lambda batch: setattr(batch, "vehicle_id", "never-enrolled"))(rng, fleet, now_ns)
    return Message(b"never-enrolled", message.value, [])


def _report(**wrong: Any) -> Make:
    """A report with wrong fields. Every report here is wrong, so that a correct one can never be counted."""

    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        fields: dict[str, Any] = {
            "fleet_id": fleet,
            "vehicle_id": VEHICLE,
            "boot_id": rng.randbytes(12),
            "sequence": 1,
            "start_utc_ns": now_ns - S,
            "end_utc_ns": now_ns,
            "rollout_id": "poison",
        }
        value = health_pb2.VehicleReport(**{**fields, **wrong}).SerializeToString()
        return Message(VEHICLE.encode(), value, _headers(topics.HEALTH, value, rng, now_ns))

    return make


_REPORTS = {
    "a report with sequence 2^63": _report(sequence=2**63),
    "a report with 2^32 - 1 interventions": _report(interventions=2**32 - 1),
    "a report with 850 fault names": _report(faults={f"a fault with a long name, number {n}": 1 for n in range(850)}),
    "a report with a NUL in its rollout": _report(rollout_id="a\0b"),
    "another vehicle's report": _report(vehicle_id="chaos-000"),
}


def _clip_header(**wrong: Any) -> Make:
    """The header of an upload with wrong fields."""

    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        fields: dict[str, Any] = {
            "sha256": rng.randbytes(32).hex(),
            "size_bytes": 10_000,
            "fleet_id": fleet,
            "vehicle_id": VEHICLE,
            "start_utc_ns": now_ns - S,
            "end_utc_ns": now_ns,
            "boot_id": rng.randbytes(12),
        }
        value = telemetry_pb2.ClipHeader(**{**fields, **wrong}).SerializeToString()
        return Message(VEHICLE.encode(), value, [])

    return make


_CLIPS = {
    "a clip with 64 camera names of 256 characters": _clip_header(cameras=[f"{n:0256d}" for n in range(64)]),
    "a clip for a firing of 65 characters": _clip_header(firing_id="f" * 65),
    "a clip for a firing with a NUL": _clip_header(firing_id="a\0b"),
    "a clip of no bytes": _clip_header(size_bytes=0),
}


def _stored_clip(firing_id: str) -> Make:
    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        origin = provenance_pb2.Provenance(fleet_id=fleet, vehicle_id=VEHICLE, firing_id=firing_id)
        stored = clip_pb2.ClipStored(event_id=rng.randbytes(16).hex(), provenance=origin, size_bytes=1)
        value = stored.SerializeToString()
        return Message(VEHICLE.encode(), value, _headers(topics.CLIP, value, rng, now_ns))

    return make


def _fired(firing_id: str, trigger: str = "stop_sign_chaos") -> Make:
    def make(rng: Random, fleet: str, now_ns: int) -> Message:
        origin = provenance_pb2.Provenance(
            fleet_id=fleet, vehicle_id=VEHICLE, trigger=trigger, trigger_version=1, campaign="chaos"
        )
        fired = trigger_pb2.TriggerFired(event_id=firing_id, provenance=origin, onset_utc_ns=rng.randrange(now_ns))
        value = fired.SerializeToString()
        return Message(VEHICLE.encode(), value, _headers(topics.TRIGGER, value, rng, now_ns))

    return make


_EVENTS: dict[str, tuple[str, Make]] = {
    "a stored clip for a firing of 65 characters": (topics.CLIP, _stored_clip("f" * 65)),
    "a stored clip for a firing with a NUL": (topics.CLIP, _stored_clip("a\0b")),
    "a firing with an id of 65 characters": (topics.TRIGGER, _fired("f" * 65)),
    "a firing with a NUL in its id": (topics.TRIGGER, _fired("a\0b")),
    "a firing of a trigger with a NUL": (topics.TRIGGER, _fired("f" * 32, "a\0b")),
}


def _firing(rng: Random) -> bytes:
    return trigger_pb2.TriggerFired(event_id=rng.randbytes(16).hex()).SerializeToString()


def _task(rng: Random) -> bytes:
    return label_pb2.LabelTaskCreated(task_id=rng.randbytes(16).hex()).SerializeToString()


def _label(rng: Random) -> bytes:
    return label_pb2.SampleLabelled(event_id=rng.randbytes(16).hex()).SerializeToString()


_NAMELESS = {topics.TRIGGER: _firing, topics.LABEL_TASK: _task, topics.LABEL: _label}
_EMPTY_HEADERS: Headers = [("ce_id", None), ("ce_time", None)]


def _written(name: str, topic: str, make: Make) -> Poison:
    return Poison(f"{name}, on {topic}", topic, READERS[topic], make)


def _sent(name: str, rpc: str, make: Make) -> Poison:
    return Poison(f"{name}, at the door", "", frozenset(), make, rpc)


def _endless_reason(rng: Random, fleet: str, now_ns: int) -> Message:
    request = campaign_pb2.SetCampaignStateRequest(
        request_id=rng.randbytes(16).hex(),
        campaign="chaos",
        state=campaign_pb2.CAMPAIGN_STATE_SUSPENDED,
        reason="a" * 1_300_000,
    )
    return Message(b"", request.SerializeToString(), [])


POISON: tuple[Poison, ...] = (
    *(_written("bytes that are no message", topic, _malformed(topic)) for topic in READERS),
    *(_written("no headers", topic, _nameless(value, [])) for topic, value in _NAMELESS.items()),
    *(
        _written("headers without a value", topic, _nameless(value, _EMPTY_HEADERS))
        for topic, value in _NAMELESS.items()
    ),
    *(_written(name, topics.INGEST, _changed(change)) for name, change in _BATCHES.items()),
    _written("a batch of a vehicle that is not enrolled", topics.INGEST, _stranger),
    *(_written(name, topics.HEALTH, make) for name, make in _REPORTS.items()),
    *(_written(name, topic, make) for name, (topic, make) in _EVENTS.items()),
    *(_sent(name, "StreamTelemetry", _changed(change)) for name, change in _BATCHES.items()),
    *(_sent(name, "ReportHealth", make) for name, make in _REPORTS.items()),
    *(_sent(name, "UploadClip", make) for name, make in _CLIPS.items()),
    _sent("a reason of 1.3 MB", "SetCampaignState", _endless_reason),
)
"""Every input that must be refused."""

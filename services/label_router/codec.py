"""Protobuf to the router's model and back."""

from __future__ import annotations

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.topics import COMMAND, LABEL_TASK
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.route.v1 import route_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from label_router.model import Clip, Firing, Progress, Route, RoutedFiring

_SOURCES = {"human": label_pb2.LABEL_SOURCE_HUMAN, "hindsight": label_pb2.LABEL_SOURCE_HINDSIGHT}
DECISIONS = {
    Progress.CLIP_WANTED: route_pb2.ROUTE_DECISION_CLIP_WANTED,
    Progress.ROUTED: route_pb2.ROUTE_DECISION_ROUTED,
    Progress.DROPPED: route_pb2.ROUTE_DECISION_DROPPED,
}


def firing_in(record: Record) -> Firing:
    """The firing in a record of fleet.trigger.v1. Raises UnreadableMessageError when it names no vehicle."""
    fired = parse(trigger_pb2.TriggerFired, record)
    if not fired.event_id or not fired.provenance.vehicle_id:
        raise UnreadableMessageError("event_id and provenance.vehicle_id must be set in a TriggerFired")
    return firing_of(fired)


def firing_from(event: bytes) -> Firing:
    """The firing whose serialised TriggerFired is kept."""
    return firing_of(trigger_pb2.TriggerFired.FromString(event))


def clip_in(record: Record) -> Clip:
    """The clip in a record of fleet.clip.v1."""
    return clip_of(parse(clip_pb2.ClipStored, record))


def clip_of(stored: clip_pb2.ClipStored) -> Clip:
    """A ClipStored as a value."""
    origin = stored.provenance
    return Clip(origin.firing_id, origin.vehicle_id, stored.size_bytes, stored.SerializeToString())


def clip_from(event: bytes) -> Clip:
    """The clip whose serialised ClipStored is kept."""
    return clip_of(clip_pb2.ClipStored.FromString(event))


def firing_of(fired: trigger_pb2.TriggerFired) -> Firing:
    """A TriggerFired as a value."""
    placed = fired.HasField("place")
    return Firing(
        firing_id=fired.event_id,
        vehicle_id=fired.provenance.vehicle_id,
        trigger=fired.provenance.trigger,
        task=fired.task,
        project_hint=fired.project_hint,
        model_digest=fired.provenance.model_digest,
        onset_utc_ns=fired.onset_utc_ns,
        conditions=frozenset(fired.conditions),
        evidence=dict(fired.evidence),
        latitude_deg=fired.place.latitude_deg if placed else None,
        longitude_deg=fired.place.longitude_deg if placed else None,
        bytes_per_vehicle_day=fired.bytes_per_vehicle_day,
        detected_at_utc_ns=fired.detected_at_utc_ns,
        event=fired.SerializeToString(),
    )


def send_clip(firing: Firing, attempt: int, expires_at_utc_ns: int, now_utc_ns: int) -> Event:
    """The command that requests a firing's clip. Every attempt is the same command, in an event of its own."""
    fired = trigger_pb2.TriggerFired.FromString(firing.event)
    command_id = causal_id("send_clip", fired.event_id)
    origin = fired.provenance
    command = command_pb2.VehicleCommand(
        command_id=command_id,
        fleet_id=origin.fleet_id,
        vehicle_id=origin.vehicle_id,
        expires_at_utc_ns=expires_at_utc_ns,
        issued_at_utc_ns=now_utc_ns,
        attempt=attempt,
        send_clip=command_pb2.SendClip(
            firing_id=fired.event_id,
            boot_id=origin.boot_id,
            start_monotonic_ns=fired.onset_monotonic_ns - seconds_to_ns(fired.pre_s),
            end_monotonic_ns=fired.onset_monotonic_ns + seconds_to_ns(fired.post_s),
            onset_monotonic_ns=fired.onset_monotonic_ns,
            cameras=fired.cameras,
            trigger=origin.trigger,
            priority=fired.priority,
        ),
        provenance=origin,
    )
    event_id = causal_id("send_clip", fired.event_id, attempt)
    return event_of(COMMAND, origin.vehicle_id, event_id, command, now_utc_ns)


def label_task(
    firing: Firing,
    clip: Clip,
    route: Route,
    task: str,
    schema_version: str,
    now_utc_ns: int,
) -> tuple[str, Event]:
    """The label task of a firing's moment, and its id. The same clip, moment and task give the same label task."""
    fired, stored = trigger_pb2.TriggerFired.FromString(firing.event), clip_pb2.ClipStored.FromString(clip.event)
    sample_id = causal_id("sample", stored.sha256, fired.onset_utc_ns, task)
    task_id = causal_id("labeltask", sample_id, route.project, schema_version)
    provenance = provenance_pb2.Provenance()
    provenance.CopyFrom(fired.provenance)
    provenance.clip_id = stored.sha256
    provenance.firing_id = fired.event_id
    provenance.sample_id = sample_id
    provenance.task_schema_version = schema_version
    message = label_pb2.LabelTaskCreated(
        task_id=task_id,
        provenance=provenance,
        project=route.project,
        dataset=route.dataset,
        task=task,
        sources=[_SOURCES[source] for source in route.sources],
        why=f"{fired.provenance.trigger}: {', '.join(fired.conditions) or 'fired'}",
        clip_address=stored.address,
        moment_utc_ns=fired.onset_utc_ns,
        moment_monotonic_ns=fired.onset_monotonic_ns,
        agreement=route.agreement,
        priority=route.priority + fired.priority,
        place=fired.place if fired.HasField("place") else None,
        created_at_utc_ns=now_utc_ns,
        detected_at_utc_ns=fired.detected_at_utc_ns,
    )
    return task_id, event_of(LABEL_TASK, sample_id, task_id, message, now_utc_ns)


def routed_message(firing: RoutedFiring) -> route_pb2.RoutedFiring:
    """A firing with its decision as a message."""
    return route_pb2.RoutedFiring(
        firing_id=firing.firing_id,
        vehicle_id=firing.vehicle_id,
        trigger=firing.trigger,
        decision=DECISIONS[firing.progress],
        reason=firing.reason,
        detail=firing.detail,
        task_ids=[firing.task_id] if firing.task_id else [],
        decided_at_utc_ns=firing.decided_at_utc_ns,
    )

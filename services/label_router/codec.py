"""Protobuf to the router's model and back."""

from __future__ import annotations

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import COMMAND, LABEL_TASK
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.route.v1 import route_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from label_router.model import Firing, Progress, Route

_SOURCES = {"human": label_pb2.LABEL_SOURCE_HUMAN, "hindsight": label_pb2.LABEL_SOURCE_HINDSIGHT}
DECISIONS = {
    Progress.CLIP_WANTED: route_pb2.ROUTE_DECISION_CLIP_WANTED,
    Progress.ROUTED: route_pb2.ROUTE_DECISION_ROUTED,
    Progress.DROPPED: route_pb2.ROUTE_DECISION_DROPPED,
}


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
    )


def send_clip(fired: trigger_pb2.TriggerFired, attempt: int, expires_at_utc_ns: int, now_utc_ns: int) -> Event:
    """Asks the vehicle for the firing's seconds. Every attempt is the same command, in an event of its own."""
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
    fired: trigger_pb2.TriggerFired,
    stored: clip_pb2.ClipStored,
    route: Route,
    task: str,
    schema_version: str,
    now_utc_ns: int,
) -> tuple[str, Event]:
    """The question about a firing's moment, and its id. The same clip, moment and task make the same question."""
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

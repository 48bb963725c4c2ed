"""Triggers as protobuf messages, for services that publish them and services that run them."""

from __future__ import annotations

from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import ALWAYS, RISING_EDGE, Trigger, trigger_from

_MODES = {
    RISING_EDGE: campaign_pb2.TRIGGER_MODE_RISING_EDGE,
    ALWAYS: campaign_pb2.TRIGGER_MODE_ALWAYS,
}
_WORDS = {number: word for word, number in _MODES.items()}
_PLAIN = [
    "name",
    "version",
    "expression",
    "min_interval_s",
    "pre_s",
    "post_s",
    "priority",
    "sampling_fraction",
    "quota_labels",
    "bytes_per_vehicle_day",
    "project_hint",
    "task",
    "description",
]


def to_definition(trigger: Trigger) -> campaign_pb2.TriggerDefinition:
    """Encodes a trigger as a message."""
    definition = campaign_pb2.TriggerDefinition(
        name=trigger.name,
        version=trigger.version,
        expression=trigger.expression,
        mode=_MODES[trigger.mode],
        min_interval_s=trigger.min_interval_s,
        pre_s=trigger.pre_s,
        post_s=trigger.post_s,
        cameras=trigger.cameras,
        priority=trigger.priority,
        sampling_fraction=trigger.sampling_fraction,
        vehicles=trigger.vehicles,
        from_utc_ns=trigger.from_utc_ns,
        until_utc_ns=trigger.until_utc_ns,
        quota_labels=trigger.quota_labels,
        bytes_per_vehicle_day=trigger.bytes_per_vehicle_day,
        project_hint=trigger.project_hint,
        task=trigger.task,
        description=trigger.description,
        conditions=dict(trigger.conditions),
        evidence=trigger.evidence,
    )
    if trigger.geofence is not None:
        definition.geofence.CopyFrom(
            campaign_pb2.Geofence(
                latitude_deg=trigger.geofence.latitude_deg,
                longitude_deg=trigger.geofence.longitude_deg,
                radius_m=trigger.geofence.radius_m,
            )
        )
    return definition


def from_definition(definition: campaign_pb2.TriggerDefinition) -> Trigger:
    """Decodes a trigger, with the checks that a file undergoes. Raises ``TriggerFileError`` naming the field."""
    mode = _WORDS.get(definition.mode)
    if mode is None:
        raise TriggerFileError("mode", f"{definition.mode} is unknown; use {RISING_EDGE} or {ALWAYS}")
    fields = {name: getattr(definition, name) for name in _PLAIN}
    fields |= {name: list(getattr(definition, name)) for name in ("cameras", "vehicles", "evidence")}
    fields |= {"mode": mode, "conditions": dict(definition.conditions)}
    fields |= {"from": definition.from_utc_ns, "until": definition.until_utc_ns}
    if definition.HasField("geofence"):
        fence = definition.geofence
        fields["geofence"] = {name: getattr(fence, name) for name in ("latitude_deg", "longitude_deg", "radius_m")}
    return trigger_from(fields)

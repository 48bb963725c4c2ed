"""Triggers on the wire: one translation for whoever publishes them and whoever runs them."""

from __future__ import annotations

from fleet.campaign.v1 import campaign_pb2
from triggerlang.errors import TriggerFileError
from triggerlang.trigger import ALWAYS, RISING_EDGE, Geofence, Trigger

_MODES = {
    RISING_EDGE: campaign_pb2.TRIGGER_MODE_RISING_EDGE,
    ALWAYS: campaign_pb2.TRIGGER_MODE_ALWAYS,
}
_WORDS = {number: word for word, number in _MODES.items()}


def to_definition(trigger: Trigger) -> campaign_pb2.TriggerDefinition:
    """The message of a trigger."""
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
    """The trigger of a message. Raises ``TriggerFileError`` when it has no mode or no usable interval."""
    mode = _WORDS.get(definition.mode)
    if mode is None:
        raise TriggerFileError("mode", f"{definition.mode} is neither {RISING_EDGE} nor {ALWAYS}")
    if not definition.min_interval_s > 0:
        raise TriggerFileError("min_interval_s", "must be above 0")
    fence = definition.geofence
    return Trigger(
        name=definition.name,
        version=definition.version,
        expression=definition.expression,
        mode=mode,
        min_interval_s=definition.min_interval_s,
        pre_s=definition.pre_s,
        post_s=definition.post_s,
        cameras=tuple(definition.cameras),
        priority=definition.priority,
        sampling_fraction=definition.sampling_fraction,
        geofence=Geofence(fence.latitude_deg, fence.longitude_deg, fence.radius_m)
        if definition.HasField("geofence")
        else None,
        vehicles=tuple(definition.vehicles),
        from_utc_ns=definition.from_utc_ns,
        until_utc_ns=definition.until_utc_ns,
        quota_labels=definition.quota_labels,
        bytes_per_vehicle_day=definition.bytes_per_vehicle_day,
        project_hint=definition.project_hint,
        task=definition.task,
        description=definition.description,
        conditions=tuple(sorted(definition.conditions.items())),
        evidence=tuple(definition.evidence),
    )

"""Protobuf to the detector's model and back."""

from __future__ import annotations

from collections.abc import Container

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.telemetry_codec import decode_batch
from fleetloop.domain.topics import TRIGGER
from fleetloop.domain.validation import BatchError, validate
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.definition import from_definition
from fleetloop.triggerlang.errors import TriggerFileError
from trigger_detector.model import Appended, CampaignRevision, Firing

_ANY_TIME = 2**63
"""The gateway refuses batches from the future; here the time of arrival is long past."""


def appended_of(record: Record, catalogue: SignalCatalogue, only: Container[str]) -> Appended:
    """Decodes a batch of the log, of which only the columns in ``only``.

    The gateway has checked it, but other producers may write to the topic. Raises ``UnreadableMessageError`` for a
    batch that fails the catalogue's check, since it would break the evaluation of the whole poll.
    """
    try:
        frames = decode_batch(parse(telemetry_pb2.TelemetryBatch, record), only)
        return Appended(validate(frames, catalogue, _ANY_TIME).batch, record.appended_ms)
    except BatchError as error:
        raise UnreadableMessageError(str(error)) from error


def campaign_of(record: Record) -> tuple[CampaignRevision, tuple[str, ...]]:
    """A campaign's revision, and one message for each trigger that is left out because it is invalid."""
    message = parse(campaign_pb2.Campaign, record)
    triggers, problems = [], []
    for definition in message.triggers:
        try:
            triggers.append(from_definition(definition))
        except TriggerFileError as error:
            problems.append(f"{definition.name}: {error}")
    running = message.state == campaign_pb2.CAMPAIGN_STATE_RUNNING
    revision = CampaignRevision(
        message.campaign, message.revision, running, tuple(triggers), message.in_force_from_utc_ns
    )
    return revision, tuple(problems)


def firing_event(firing: Firing, now_utc_ns: int) -> Event:
    """The event that announces a firing."""
    trigger = firing.trigger
    message = trigger_pb2.TriggerFired(
        event_id=firing.firing_id,
        provenance=provenance_pb2.Provenance(
            fleet_id=firing.fleet_id,
            vehicle_id=firing.vehicle_id,
            boot_id=firing.boot_id,
            firing_id=firing.firing_id,
            trigger=trigger.name,
            trigger_version=trigger.version,
            campaign=firing.campaign,
            model_digest=firing.model_digest,
        ),
        onset_monotonic_ns=firing.onset_monotonic_ns,
        onset_utc_ns=firing.onset_utc_ns,
        pre_s=trigger.pre_s,
        post_s=trigger.post_s,
        cameras=trigger.cameras,
        priority=trigger.priority,
        task=trigger.task,
        project_hint=trigger.project_hint,
        conditions=firing.conditions,
        evidence=dict(firing.evidence),
        detected_at_utc_ns=now_utc_ns,
        min_interval_s=trigger.min_interval_s,
        bytes_per_vehicle_day=trigger.bytes_per_vehicle_day,
    )
    if firing.location is not None:
        message.place.CopyFrom(
            provenance_pb2.Place(latitude_deg=firing.location[0], longitude_deg=firing.location[1])
        )
    return event_of(TRIGGER, firing.vehicle_id, firing.firing_id, message, now_utc_ns)

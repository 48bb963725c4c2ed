"""Protobuf to the keeper's model and back."""

from __future__ import annotations

from collections.abc import Iterable

from campaign_keeper.model import (
    Applied,
    Campaign,
    Earnings,
    FinishedTrigger,
    InForceReport,
    Origin,
    Problem,
    State,
    TriggerDefinition,
)
from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.topics import CAMPAIGN
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.definition import from_definition
from fleetloop.triggerlang.trigger import Trigger

STATES = {
    State.DRAFT: campaign_pb2.CAMPAIGN_STATE_DRAFT,
    State.WAITING: campaign_pb2.CAMPAIGN_STATE_WAITING,
    State.RUNNING: campaign_pb2.CAMPAIGN_STATE_RUNNING,
    State.SUSPENDED: campaign_pb2.CAMPAIGN_STATE_SUSPENDED,
    State.FINISHED: campaign_pb2.CAMPAIGN_STATE_FINISHED,
}
_BY_NUMBER = {number: state for state, number in STATES.items()}


def state_of(number: campaign_pb2.CampaignState.ValueType) -> State | None:
    """The state, or None when the message names none."""
    return _BY_NUMBER.get(number)


def trigger_of(definition: campaign_pb2.TriggerDefinition) -> TriggerDefinition:
    """A trigger's definition as a value."""
    content = campaign_pb2.TriggerDefinition()
    content.CopyFrom(definition)
    content.ClearField("version")
    return TriggerDefinition(
        name=definition.name,
        version=definition.version,
        task=definition.task,
        cameras=tuple(definition.cameras),
        quota_labels=definition.quota_labels,
        content=content.SerializeToString(deterministic=True),
    )


def trigger_message(trigger: TriggerDefinition) -> campaign_pb2.TriggerDefinition:
    """A trigger's definition as a message."""
    definition = campaign_pb2.TriggerDefinition.FromString(trigger.content)
    definition.version = trigger.version
    return definition


def trigger_in_language(trigger: TriggerDefinition) -> Trigger:
    """A trigger as the trigger language has it. Raises TriggerFileError that names the field."""
    return from_definition(trigger_message(trigger))


def campaign_of(message: campaign_pb2.Campaign) -> Campaign:
    """A Campaign message as a value."""
    return Campaign(
        campaign=message.campaign,
        state=state_of(message.state),
        triggers=tuple(trigger_of(each) for each in message.triggers),
        finished=tuple(
            FinishedTrigger(trigger_of(each.trigger), each.reason, each.finished_at_utc_ns)
            for each in message.finished
        ),
        in_force_from_utc_ns=message.in_force_from_utc_ns,
        reason=message.reason,
        revision=message.revision,
        published_at_utc_ns=message.published_at_utc_ns,
        changed_by=message.changed_by,
        approved_by=message.approved_by,
        approved_at_utc_ns=message.approved_at_utc_ns,
        authors=tuple(message.authors),
    )


def campaign_message(campaign: Campaign) -> campaign_pb2.Campaign:
    """A campaign as a message."""
    return campaign_pb2.Campaign(
        campaign=campaign.campaign,
        revision=campaign.revision,
        state=campaign_pb2.CAMPAIGN_STATE_UNSPECIFIED if campaign.state is None else STATES[campaign.state],
        triggers=map(trigger_message, campaign.triggers),
        in_force_from_utc_ns=campaign.in_force_from_utc_ns,
        published_at_utc_ns=campaign.published_at_utc_ns,
        reason=campaign.reason,
        changed_by=campaign.changed_by,
        approved_by=campaign.approved_by,
        approved_at_utc_ns=campaign.approved_at_utc_ns,
        authors=campaign.authors,
        finished=[
            campaign_pb2.FinishedTrigger(
                trigger=trigger_message(each.trigger),
                reason=each.reason,
                finished_at_utc_ns=each.finished_at_utc_ns,
            )
            for each in campaign.finished
        ],
    )


def campaign_bytes(campaign: Campaign) -> bytes:
    """A campaign as it is kept."""
    return campaign_message(campaign).SerializeToString()


def campaign_from(raw: bytes) -> Campaign:
    """A campaign that was kept."""
    return campaign_of(campaign_pb2.Campaign.FromString(raw))


def campaign_event(campaign: Campaign) -> Event:
    """The announcement of a revision."""
    event_id = causal_id("campaign", campaign.campaign, campaign.revision)
    message = campaign_message(campaign)
    return event_of(CAMPAIGN, campaign.campaign, event_id, message, campaign.published_at_utc_ns)


def applied_message(applied: Applied) -> campaign_pb2.ApplyCampaignResponse:
    """The answer to applying a campaign's files."""
    return campaign_pb2.ApplyCampaignResponse(
        campaign=campaign_message(applied.campaign),
        added=applied.added,
        changed=applied.changed,
        removed=applied.removed,
        problems=map(_problem_message, applied.problems),
        finished=applied.finished,
    )


def _problem_message(problem: Problem) -> campaign_pb2.TriggerProblem:
    return campaign_pb2.TriggerProblem(trigger=problem.trigger, field=problem.field, message=problem.message)


def earnings_messages(earnings: Iterable[Earnings]) -> list[campaign_pb2.TriggerEarnings]:
    """The ledger as messages."""
    return [
        campaign_pb2.TriggerEarnings(
            campaign=each.campaign,
            trigger=each.trigger,
            version=each.version,
            fired=each.fired,
            clips=each.clips,
            clip_bytes=each.clip_bytes,
            dropped=each.dropped,
            tasks=each.tasks,
            labelled=each.labelled,
            kept=each.kept,
        )
        for each in earnings
    ]


def report_of(request: campaign_pb2.ReportInForceRequest, now_utc_ns: int) -> InForceReport:
    """What a process says it has in force, as a value."""
    return InForceReport(request.reporter, request.SerializeToString(), now_utc_ns)


def process_message(report: InForceReport) -> campaign_pb2.ProcessInForce:
    """A process's report as a message."""
    return campaign_pb2.ProcessInForce(
        report=campaign_pb2.ReportInForceRequest.FromString(report.message),
        reported_at_utc_ns=report.reported_at_utc_ns,
    )


def _origin(provenance: provenance_pb2.Provenance) -> Origin:
    return Origin(provenance.firing_id, provenance.campaign, provenance.trigger, provenance.trigger_version)


def firing_in(record: Record) -> Origin:
    """The firing in a record of fleet.trigger.v1."""
    fired = parse(trigger_pb2.TriggerFired, record)
    origin = fired.provenance
    return Origin(fired.event_id, origin.campaign, origin.trigger, origin.trigger_version)


def clip_in(record: Record) -> tuple[str, int]:
    """The firing of the clip in a record of fleet.clip.v1 (empty when no trigger asked for it), and its bytes."""
    stored = parse(clip_pb2.ClipStored, record)
    return stored.provenance.firing_id, stored.size_bytes


def label_task_in(record: Record) -> Origin:
    """The origin of the task in a record of fleet.labeltask.v1."""
    return _origin(parse(label_pb2.LabelTaskCreated, record).provenance)


def label_in(record: Record) -> Origin | None:
    """The origin of the label in a record of fleet.label.v1; None unless it was agreed."""
    labelled = parse(label_pb2.SampleLabelled, record)
    return _origin(labelled.provenance) if labelled.outcome == label_pb2.LABEL_OUTCOME_AGREED else None


def commit_in(record: Record) -> tuple[str, list[tuple[str, int, int]]]:
    """The commit id in a record of fleet.dataset.v1, and (trigger, version, samples) of what the version kept.

    Of samples that it removed from its parent, the number is negative.
    """
    committed = parse(dataset_pb2.DatasetCommitted, record)
    kept = [(row.trigger, row.version, row.samples) for row in committed.by_trigger if row.trigger]
    removed = committed.retraction.removed_by_trigger
    return committed.event_id, kept + [(row.trigger, row.version, -row.samples) for row in removed if row.trigger]

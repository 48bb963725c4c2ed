"""What the page of triggers shows: campaigns with their approval, and a row for every trigger. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet_console.model import Row
from fleet_console.wording import age, listed, number, size, words
from fleetloop.protos.campaign.v1 import campaign_pb2


@dataclass(frozen=True, slots=True)
class CampaignCard:
    """A campaign in one line."""

    name: str
    state: str
    note: str
    """Revision, approval, last change and reason."""


@dataclass(frozen=True, slots=True)
class TriggersView:
    """All that the page shows."""

    campaigns: Sequence[CampaignCard] = ()
    triggers: Sequence[Row] = ()
    past: Sequence[Row] = ()
    """Versions that no campaign has any longer, and what they earned."""
    force: str = ""
    """How many detector processes report what is in force."""
    away: str = ""
    """Why the keeper is unavailable; empty when it answers."""


def triggers_view(
    campaigns: Sequence[campaign_pb2.Campaign],
    earnings: Sequence[campaign_pb2.TriggerEarnings],
    processes: Sequence[campaign_pb2.ProcessInForce],
    now_utc_ns: int,
) -> TriggersView:
    """The page from the keeper's three answers."""
    earned = {(e.campaign, e.trigger, e.version): e for e in earnings}
    rows: list[Row] = []
    for campaign in campaigns:
        ended = [(each.trigger, "ended") for each in campaign.finished]
        for trigger, state in [*((t, state_word(campaign.state)) for t in campaign.triggers), *ended]:
            e = earned.pop((campaign.campaign, trigger.name, trigger.version), campaign_pb2.TriggerEarnings())
            rows.append(_row(campaign.campaign, trigger, state, e, processes))
    rows.sort(key=lambda row: (row["state"] != "running", str(row["key"])))
    past = [_earned(e) for e in sorted(earned.values(), key=lambda e: (e.campaign, e.trigger, -e.version))]
    vehicles = sum(process.report.vehicles for process in processes)
    force = "No detector has reported for a minute what it has in force."
    if processes:
        detectors = (
            "One detector process evaluates" if len(processes) == 1 else f"{len(processes)} detector processes"
        )
        force = f"{detectors}{'' if len(processes) == 1 else ' evaluate'} {number(vehicles)} vehicles."
    return TriggersView([_card(campaign, now_utc_ns) for campaign in campaigns], rows, past, force)


def state_word(state: campaign_pb2.CampaignState.ValueType) -> str:
    """A state as a word, such as running or draft."""
    return words(campaign_pb2.CampaignState.Name(state), "CAMPAIGN_STATE_")


def _card(campaign: campaign_pb2.Campaign, now_utc_ns: int) -> CampaignCard:
    notes = [f"revision {campaign.revision}, {age(campaign.published_at_utc_ns, now_utc_ns)}"]
    if campaign.approved_by:
        notes.append(f"approved by {campaign.approved_by} {age(campaign.approved_at_utc_ns, now_utc_ns)}")
    notes.append(f"changed by {campaign.changed_by or 'the keeper'}")
    if campaign.reason:
        notes.append(campaign.reason)
    return CampaignCard(campaign.campaign, state_word(campaign.state), "; ".join(notes))


def _row(
    campaign: str,
    trigger: campaign_pb2.TriggerDefinition,
    state: str,
    earned: campaign_pb2.TriggerEarnings,
    processes: Sequence[campaign_pb2.ProcessInForce],
) -> Row:
    on = sum(
        each.campaign == campaign and each.triggers.get(trigger.name) == trigger.version
        for process in processes
        for each in process.report.campaigns
    )
    refusals = [
        process.report.refused[trigger.name] for process in processes if trigger.name in process.report.refused
    ]
    quota = f" of {number(trigger.quota_labels)}" if trigger.quota_labels else ""
    return {
        "key": f"{campaign}/{trigger.name}/{trigger.version}",
        "trigger": f"{words(trigger.name)} v{trigger.version}",
        "campaign": campaign,
        "state": state,
        "force": f"refused: {refusals[0]}" if refusals else f"{on} of {len(processes)}",
        **_counts(earned),
        "labelled": number(earned.labelled) + quota,
        "hunts": trigger.description or "–",
    }


def _earned(earned: campaign_pb2.TriggerEarnings) -> Row:
    return {
        "key": f"{earned.campaign}/{earned.trigger}/{earned.version}",
        "trigger": f"{words(earned.trigger)} v{earned.version}",
        "campaign": earned.campaign or "–",
        **_counts(earned),
    }


def _counts(earned: campaign_pb2.TriggerEarnings) -> Mapping[str, str]:
    return {
        "fired": number(earned.fired),
        "clips": number(earned.clips),
        "bytes": size(earned.clip_bytes),
        "labelled": number(earned.labelled),
        "kept": number(earned.kept),
        "dropped": listed(dict(earned.dropped)) or "–",
    }

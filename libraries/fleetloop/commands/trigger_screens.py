"""Tables of campaigns, of what is in force, and of the ledger. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from fleetloop.backtesting.screen import bytes_text
from fleetloop.kit.process.clock import utc_second
from fleetloop.protos.campaign.v1 import campaign_pb2


def state_word(state: campaign_pb2.CampaignState.ValueType) -> str:
    """Return a state as people read it, for example `running`."""
    return campaign_pb2.CampaignState.Name(state).removeprefix("CAMPAIGN_STATE_").lower()


def who(identity: str) -> str:
    """Return a person's name, or a service's name with its kind."""
    return identity.removeprefix("user/")


def moment(utc_ns: int) -> str:
    """Format a time in UTC to the minute; 0 becomes an empty text."""
    return f"{utc_second(utc_ns):%Y-%m-%d %H:%M}" if utc_ns else ""


def campaign_tables(
    campaigns: Sequence[campaign_pb2.Campaign],
    earnings: Sequence[campaign_pb2.TriggerEarnings],
    processes: Sequence[campaign_pb2.ProcessInForce],
) -> list[Table]:
    """Build one table per campaign with its triggers, including those that have ended."""
    earned = {(e.campaign, e.trigger, e.version): e for e in earnings}
    tables = []
    for campaign in campaigns:
        title = f"{campaign.campaign}: {state_word(campaign.state)}, revision {campaign.revision}"
        approved = f", approved by {who(campaign.approved_by)}" if campaign.approved_by else ""
        table = _table("trigger", title=title + approved)
        table.columns[0].no_wrap = True
        for name in ("in force", "fired", "clips", "dropped", "labels", "kept"):
            table.add_column(name, justify="right", no_wrap=True)
        ended = [(each.trigger, "ended") for each in campaign.finished]
        for trigger, state in [*((t, "") for t in campaign.triggers), *ended]:
            e = earned.get((campaign.campaign, trigger.name, trigger.version)) or campaign_pb2.TriggerEarnings()
            on = sum(evaluates(process, campaign.campaign, trigger) for process in processes)
            counts = (e.fired, e.clips, sum(e.dropped.values()), e.labelled, e.kept)
            table.add_row(
                f"{trigger.name} v{trigger.version}", state or f"{on} of {len(processes)}", *map(str, counts)
            )
        tables.append(table)
    return tables


def ledger_table(earnings: Sequence[campaign_pb2.TriggerEarnings]) -> Table:
    """Build the table of outcomes by trigger version, including past versions."""
    table = _table("trigger")
    for name in ("fired", "clips", "size", "tasks", "labelled", "kept"):
        table.add_column(name, justify="right")
    table.add_column("dropped, by reason")
    for e in earnings:
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(e.dropped.items(), key=lambda x: -x[1]))
        counts = (e.fired, e.clips, bytes_text(e.clip_bytes), e.tasks, e.labelled, e.kept)
        table.add_row(f"{e.campaign}/{e.trigger} v{e.version}", *map(str, counts), dropped)
    return table


def ledger_json(earnings: Sequence[campaign_pb2.TriggerEarnings]) -> list[dict[str, Any]]:
    """Return the ledger for programs."""
    plain = ("campaign", "trigger", "version", "fired", "clips", "clip_bytes", "tasks", "labelled", "kept")
    return [{**{name: getattr(e, name) for name in plain}, "dropped": dict(e.dropped)} for e in earnings]


def history_table(revisions: Sequence[campaign_pb2.Campaign]) -> Table:
    """Build the table of all changes of a campaign."""
    table = _table("no.", "time", "by", "state", "triggers", "approved by", "reason")
    for column in (0, 1, 3):
        table.columns[column].no_wrap = True
    for each in revisions:
        ended = f", {len(each.finished)} ended" if each.finished else ""
        table.add_row(
            str(each.revision),
            moment(each.published_at_utc_ns),
            who(each.changed_by) or "the keeper",
            state_word(each.state),
            f"{len(each.triggers)}{ended}",
            who(each.approved_by),
            each.reason,
        )
    return table


def evaluates(process: campaign_pb2.ProcessInForce, campaign: str, trigger: campaign_pb2.TriggerDefinition) -> bool:
    """Return True if a detector process evaluates this version of a trigger."""
    return any(
        each.campaign == campaign and each.triggers.get(trigger.name) == trigger.version
        for each in process.report.campaigns
    )


def in_force_text(
    campaign: campaign_pb2.Campaign,
    trigger: campaign_pb2.TriggerDefinition,
    processes: Sequence[campaign_pb2.ProcessInForce],
) -> str:
    """Describe which detector processes evaluate this version of a trigger, and why others do not."""
    if not processes:
        return "in force: unknown, because no detector reports"
    having = [process for process in processes if evaluates(process, campaign.campaign, trigger)]
    vehicles = sum(process.report.vehicles for process in processes)
    reached = sum(process.report.vehicles for process in having)
    text = (
        f"in force: v{trigger.version} on {len(having)} of {len(processes)} detector processes, "
        f"which evaluate {reached} of {vehicles} vehicles"
    )
    others = {
        f"v{version} on {process.report.reporter}"
        for process in processes
        for each in process.report.campaigns
        if each.campaign == campaign.campaign
        and (version := each.triggers.get(trigger.name)) not in (None, trigger.version)
    }
    refusals = {
        process.report.refused[trigger.name] for process in processes if trigger.name in process.report.refused
    }
    return "; ".join([text, *sorted(others), *(f"refused: {why}" for why in sorted(refusals))])


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table

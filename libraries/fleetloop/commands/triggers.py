"""`fleetloop triggers`: apply trigger files as campaigns, and show their state and outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.campaigns import (
    DEFAULT_CAMPAIGN,
    SERVICE,
    apply_files,
    definition_yaml,
    library_folder,
    read_triggers,
)
from fleetloop.api.channel import TIMEOUT_S, channel_to, request_id
from fleetloop.commands.backtest import backtest
from fleetloop.commands.options import FOLDER, AsJson, Folder
from fleetloop.commands.trigger_screens import (
    campaign_tables,
    history_table,
    in_force_text,
    ledger_json,
    ledger_table,
    moment,
    state_word,
)
from fleetloop.errors import UserError
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc

app = typer.Typer(help="Apply triggers, and show their state and outcomes.", no_args_is_help=True)
app.command()(backtest)
Files = Annotated[list[Path] | None, typer.Argument(help="Trigger files or folders; the shipped ones by default.")]
Campaign = Annotated[str, typer.Option("--campaign", help="Campaign to which the triggers belong.")]
Name = Annotated[str, typer.Argument(help="Campaign.")]
Reason = Annotated[str, typer.Option(help="Reason, stored with the revision.")]


@app.command()
def apply(
    files: Files = None,
    campaign: Campaign = DEFAULT_CAMPAIGN,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    draft: Annotated[
        bool, typer.Option("--draft", help="Create a draft; start it later with `submit` and `approve`.")
    ] = False,
    folder: Folder = FOLDER,
) -> None:
    """Apply a campaign, which then consists of exactly the triggers in these files."""
    state = campaign_pb2.CAMPAIGN_STATE_DRAFT if draft else campaign_pb2.CAMPAIGN_STATE_UNSPECIFIED
    response = apply_files(folder, read_triggers(files), campaign, reason, dry_run, state)
    for sign, names in (("+", response.added), ("~", response.changed), ("-", response.removed)):
        for name in names:
            print(f"{sign} {name}")
    for name in response.finished:
        print(f"= {name} has ended; restart it with `fleetloop triggers resume {campaign} --trigger {name}`")
    if not (response.added or response.changed or response.removed):
        print("no changes")
    elif not dry_run:
        state_text = state_word(response.campaign.state)
        print(f"campaign {campaign} is {state_text}, revision {response.campaign.revision}")


@app.command()
def diff(files: Files = None, campaign: Campaign = DEFAULT_CAMPAIGN, folder: Folder = FOLDER) -> None:
    """Show what `apply` would change."""
    apply(files, campaign, "", True, False, folder)


@app.command("list")
def list_(folder: Folder = FOLDER) -> None:
    """List the triggers of all campaigns with the detectors that evaluate them, and their outcomes."""
    with channel_to(folder, SERVICE) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        campaigns = stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), timeout=TIMEOUT_S).campaigns
        earnings = stub.GetLedger(campaign_pb2.GetLedgerRequest(), timeout=TIMEOUT_S).earnings
        processes = stub.GetInForce(campaign_pb2.GetInForceRequest(), timeout=TIMEOUT_S).processes
    if not campaigns:
        print("There is no campaign yet. Apply the shipped triggers with `fleetloop triggers apply`.")
        return
    for table in campaign_tables(campaigns, earnings, processes):
        Console().print(table)


@app.command()
def library(folder: Folder = FOLDER) -> None:
    """List the triggers of the library, which are not active by default."""
    table = Table("trigger", "task", "what it finds")
    for definition in read_triggers([library_folder()]):
        table.add_row(definition.name, definition.task, definition.description)
    Console().print(table)
    print(f"The files are in {library_folder()}. Start one with `fleetloop triggers apply FILE --campaign NAME`.")


@app.command()
def show(name: Annotated[str, typer.Argument(help="Trigger.")], folder: Folder = FOLDER) -> None:
    """Show a trigger's definition, who approved it, and which detectors evaluate it."""
    with channel_to(folder, SERVICE) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        campaigns = stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), timeout=TIMEOUT_S).campaigns
        processes = stub.GetInForce(campaign_pb2.GetInForceRequest(), timeout=TIMEOUT_S).processes
    found = [(c, t, "") for c in campaigns for t in c.triggers if t.name == name]
    found += [(c, e.trigger, f"ended {moment(e.finished_at_utc_ns)}: {e.reason}") for c in campaigns
              for e in c.finished if e.trigger.name == name]  # fmt: skip
    if not found:
        raise UserError(f"No campaign has a trigger {name!r}.", "List all triggers with `fleetloop triggers list`.")
    for campaign, trigger, ended in found:
        approved = f", approved by {campaign.approved_by} {moment(campaign.approved_at_utc_ns)}"
        print(f"# campaign {campaign.campaign}, revision {campaign.revision}, {state_word(campaign.state)}", end="")
        print(approved if campaign.approved_by else "")
        print(f"# {ended or in_force_text(campaign, trigger, processes)}")
        print(definition_yaml(trigger))


@app.command()
def ledger(
    campaign: Annotated[str, typer.Option("--campaign", help="Only this campaign.")] = "",
    as_json: AsJson = False,
    folder: Folder = FOLDER,
) -> None:
    """Show the outcomes of every trigger version's firings: clips, bytes, labels, samples, drops with reasons."""
    with channel_to(folder, SERVICE) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        earnings = stub.GetLedger(campaign_pb2.GetLedgerRequest(campaign=campaign), timeout=TIMEOUT_S).earnings
    if as_json:
        print(json.dumps(ledger_json(earnings), indent=1))
    elif earnings:
        Console().print(ledger_table(earnings))
    else:
        print("No trigger has fired yet.")


@app.command()
def history(campaign: Name = DEFAULT_CAMPAIGN, folder: Folder = FOLDER) -> None:
    """Show all changes of a campaign with author, time and reason."""
    request = campaign_pb2.ListRevisionsRequest(campaign=campaign)
    with channel_to(folder, SERVICE) as channel:
        revisions = campaign_pb2_grpc.CampaignServiceStub(channel).ListRevisions(request, timeout=TIMEOUT_S).revisions
    if not revisions:
        raise UserError(f"There is no campaign {campaign!r}.", "List all campaigns with `fleetloop triggers list`.")
    Console().print(history_table(revisions))


@app.command()
def submit(campaign: Name, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Submit a draft for approval."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_WAITING, reason)


@app.command()
def approve(campaign: Name, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Approve a waiting campaign, which then runs. The approver is recorded."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_RUNNING, reason, campaign_pb2.CAMPAIGN_STATE_WAITING)


@app.command()
def reject(campaign: Name, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Reject a waiting campaign, which becomes a draft again."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_DRAFT, reason, campaign_pb2.CAMPAIGN_STATE_WAITING)


@app.command()
def suspend(campaign: Name = DEFAULT_CAMPAIGN, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Suspend a running campaign. Its triggers do not fire until `resume`."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_SUSPENDED, reason)


@app.command()
def pause(campaign: Name = DEFAULT_CAMPAIGN, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Do the same as `suspend`."""
    suspend(campaign, reason, folder)


@app.command()
def resume(
    campaign: Name = DEFAULT_CAMPAIGN,
    trigger: Annotated[str, typer.Option("--trigger", help="Only this trigger, which has ended.")] = "",
    reason: Reason = "",
    folder: Folder = FOLDER,
) -> None:
    """Resume a suspended campaign, or a trigger whose quota was met; its quota restarts at zero."""
    if not trigger:
        _set_state(
            folder, campaign, campaign_pb2.CAMPAIGN_STATE_RUNNING, reason, campaign_pb2.CAMPAIGN_STATE_SUSPENDED
        )
        return
    request = campaign_pb2.ResumeTriggerRequest(
        request_id=request_id(), campaign=campaign, trigger=trigger, reason=reason
    )
    with channel_to(folder, SERVICE) as channel:
        response = campaign_pb2_grpc.CampaignServiceStub(channel).ResumeTrigger(request, timeout=TIMEOUT_S)
    _print_state(response.campaign)


@app.command()
def finish(campaign: Name, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Finish a campaign. Its history is kept, and `reopen` makes it a draft again."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_FINISHED, reason)


@app.command()
def delete(campaign: Name, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Do the same as `finish`: the history of a campaign is never deleted."""
    finish(campaign, reason, folder)


@app.command()
def reopen(campaign: Name, reason: Reason = "", folder: Folder = FOLDER) -> None:
    """Reopen a finished campaign, which becomes a draft again."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_DRAFT, reason, campaign_pb2.CAMPAIGN_STATE_FINISHED)


def _set_state(
    folder: Path,
    campaign: str,
    state: campaign_pb2.CampaignState.ValueType,
    reason: str,
    only_from: campaign_pb2.CampaignState.ValueType = campaign_pb2.CAMPAIGN_STATE_UNSPECIFIED,
) -> None:
    """Change a campaign's state. `only_from` restricts a command: `approve` must not start a suspended campaign."""
    request = campaign_pb2.SetCampaignStateRequest(
        request_id=request_id(), campaign=campaign, state=state, reason=reason, only_from=only_from
    )
    with channel_to(folder, SERVICE) as channel:
        response = campaign_pb2_grpc.CampaignServiceStub(channel).SetCampaignState(request, timeout=TIMEOUT_S)
    _print_state(response.campaign)


def _print_state(campaign: campaign_pb2.Campaign) -> None:
    print(f"campaign {campaign.campaign} is {state_word(campaign.state)} (revision {campaign.revision})")

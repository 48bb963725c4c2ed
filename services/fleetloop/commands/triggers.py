"""`fleetloop triggers`: what the fleet looks out for, written as files and brought into force as campaigns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleet.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.calls import TIMEOUT_S, channel_to, request_id
from fleetloop.commands.options import FOLDER, Folder
from fleetloop.errors import UserError
from fleetloop.shipped import config_folder
from triggerlang.definition import to_definition
from triggerlang.errors import TriggerFileError
from triggerlang.trigger import parse_trigger

SERVICE = "campaign_keeper"
DEFAULT_CAMPAIGN = "standing"
app = typer.Typer(help="Say what the fleet looks out for, and see what came of it.", no_args_is_help=True)
Files = Annotated[list[Path] | None, typer.Argument(help="Trigger files or folders; those shipped by default.")]
Campaign = Annotated[str, typer.Option("--campaign", help="Campaign that groups them.")]


@app.command()
def apply(
    files: Files = None,
    campaign: Campaign = DEFAULT_CAMPAIGN,
    reason: Annotated[str, typer.Option(help="Kept with the revision.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    folder: Folder = FOLDER,
) -> None:
    """Bring a campaign into force: exactly the triggers in these files, nothing else."""
    response = apply_files(folder, read_triggers(files), campaign, reason, dry_run)
    for sign, names in (("+", response.added), ("~", response.changed), ("-", response.removed)):
        for name in names:
            print(f"{sign} {name}")
    if not (response.added or response.changed or response.removed):
        print("nothing changes")
    elif not dry_run:
        print(f"campaign {campaign} is at revision {response.campaign.revision}")


@app.command()
def diff(files: Files = None, campaign: Campaign = DEFAULT_CAMPAIGN, folder: Folder = FOLDER) -> None:
    """Say what `apply` would change."""
    apply(files, campaign, "", True, folder)


@app.command("list")
def list_(folder: Folder = FOLDER) -> None:
    """Every trigger of every campaign, with what it earned."""
    with channel_to(folder, SERVICE) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        campaigns = stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), timeout=TIMEOUT_S).campaigns
        ledger = stub.GetLedger(campaign_pb2.GetLedgerRequest(), timeout=TIMEOUT_S).earnings
    earned = {(e.campaign, e.trigger, e.version): e for e in ledger}
    table = Table("campaign", "state", "trigger", "version", "fired", "clips", "dropped", "tasks", "labelled", "kept")
    for each in campaigns:
        state = campaign_pb2.CampaignState.Name(each.state).removeprefix("CAMPAIGN_STATE_").lower()
        for trigger in each.triggers:
            e = earned.get((each.campaign, trigger.name, trigger.version)) or campaign_pb2.TriggerEarnings()
            counts = (e.fired, e.clips, sum(e.dropped.values()), e.tasks, e.labelled, e.kept)
            table.add_row(each.campaign, state, trigger.name, str(trigger.version), *map(str, counts))
    Console().print(table if campaigns else "No campaign yet: `fleetloop triggers apply` brings the shipped ones.")


@app.command()
def show(name: Annotated[str, typer.Argument(help="Trigger.")], folder: Folder = FOLDER) -> None:
    """A trigger as it is in force."""
    with channel_to(folder, SERVICE) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        campaigns = stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(), timeout=TIMEOUT_S).campaigns
    found = [(c.campaign, t) for c in campaigns for t in c.triggers if t.name == name]
    if not found:
        raise UserError(f"No campaign has a trigger {name!r}.", "`fleetloop triggers list` has them all.")
    for campaign, trigger in found:
        print(f"# campaign {campaign}\n{trigger}")


@app.command()
def pause(campaign: Campaign = DEFAULT_CAMPAIGN, folder: Folder = FOLDER) -> None:
    """Suspend a campaign: its triggers fire no more until `resume`."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_SUSPENDED)


@app.command()
def resume(campaign: Campaign = DEFAULT_CAMPAIGN, folder: Folder = FOLDER) -> None:
    """Let a suspended campaign run again."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_RUNNING)


@app.command()
def delete(campaign: Annotated[str, typer.Argument(help="Campaign.")], folder: Folder = FOLDER) -> None:
    """Finish a campaign for good; its record stays."""
    _set_state(folder, campaign, campaign_pb2.CAMPAIGN_STATE_FINISHED)


def _set_state(folder: Path, campaign: str, state: campaign_pb2.CampaignState.ValueType) -> None:
    request = campaign_pb2.SetCampaignStateRequest(request_id=request_id(), campaign=campaign, state=state)
    with channel_to(folder, SERVICE) as channel:
        response = campaign_pb2_grpc.CampaignServiceStub(channel).SetCampaignState(request, timeout=TIMEOUT_S)
    word = campaign_pb2.CampaignState.Name(response.campaign.state).removeprefix("CAMPAIGN_STATE_").lower()
    print(f"campaign {campaign} is {word} (revision {response.campaign.revision})")


def read_triggers(files: list[Path] | None) -> list[campaign_pb2.TriggerDefinition]:
    """Trigger files as definitions. UserError names the file and the field."""
    paths = files or [config_folder() / "triggers"]
    found = [inner for path in paths for inner in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not found:
        raise UserError("There is no trigger file there.", "Name files, or folders with *.yaml in them.")
    definitions = []
    for path in found:
        try:
            definitions.append(to_definition(parse_trigger(path.read_text())))
        except FileNotFoundError as error:
            raise UserError(f"There is no file {path}.", "Name files, or folders with *.yaml in them.") from error
        except TriggerFileError as error:
            raise UserError(f"{path}: {error}", "Nothing was changed.") from error
    return definitions


def apply_files(
    folder: Path,
    definitions: list[campaign_pb2.TriggerDefinition],
    campaign: str = DEFAULT_CAMPAIGN,
    reason: str = "",
    dry_run: bool = False,
) -> campaign_pb2.ApplyCampaignResponse:
    """Asks the keeper to bring triggers into force. UserError lists every problem that it found."""
    request = campaign_pb2.ApplyCampaignRequest(
        request_id=request_id(),
        campaign=campaign_pb2.Campaign(campaign=campaign, triggers=definitions, reason=reason),
        dry_run=dry_run,
    )
    with channel_to(folder, SERVICE) as channel:
        response: campaign_pb2.ApplyCampaignResponse = campaign_pb2_grpc.CampaignServiceStub(channel).ApplyCampaign(
            request, timeout=TIMEOUT_S
        )
    if response.problems:
        text = "\n".join(f"{problem.trigger}: {problem.message}" for problem in response.problems)
        raise UserError(text, "Nothing was changed.")
    return response

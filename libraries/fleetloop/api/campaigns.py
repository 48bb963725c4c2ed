"""Campaigns: read trigger files, apply them, and format definitions as files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from fleetloop.api.channel import TIMEOUT_S, channel_to, request_id
from fleetloop.errors import UserError
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.shipped import config_folder
from fleetloop.triggerlang.definition import from_definition, to_definition
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import Trigger, parse_trigger

SERVICE = "campaign_keeper"
DEFAULT_CAMPAIGN = "standing"


def read_triggers(files: list[Path] | None) -> list[campaign_pb2.TriggerDefinition]:
    """Read trigger files, or all in a folder; the shipped ones by default.

    Raises UserError that names the file and the field.
    """
    paths = files or [config_folder() / "triggers"]
    found = [inner for path in paths for inner in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not found:
        raise UserError("No trigger file was found.", "Name files, or folders that contain *.yaml files.")
    definitions = []
    for path in found:
        try:
            definitions.append(to_definition(parse_trigger(path.read_text())))
        except FileNotFoundError as error:
            raise UserError(
                f"There is no file {path}.", "Name files, or folders that contain *.yaml files."
            ) from error
        except TriggerFileError as error:
            raise UserError(f"{path}: {error}", "Nothing was changed.") from error
    return definitions


def library_folder() -> Path:
    """Return the folder of triggers that are shipped and not active by default."""
    return config_folder() / "triggers" / "library"


def apply_files(
    folder: Path,
    definitions: list[campaign_pb2.TriggerDefinition],
    campaign: str = DEFAULT_CAMPAIGN,
    reason: str = "",
    dry_run: bool = False,
    state: campaign_pb2.CampaignState.ValueType = campaign_pb2.CAMPAIGN_STATE_UNSPECIFIED,
) -> campaign_pb2.ApplyCampaignResponse:
    """Apply triggers as a campaign, which then consists of exactly these triggers.

    Args:
        folder: The run's folder.
        definitions: All triggers of the campaign.
        campaign: Name of the campaign.
        reason: Kept with the revision.
        dry_run: Only check, and return what would change.
        state: State of a new campaign; running by default.

    Raises UserError that lists every problem.
    """
    request = campaign_pb2.ApplyCampaignRequest(
        request_id=request_id(),
        campaign=campaign_pb2.Campaign(campaign=campaign, triggers=definitions, reason=reason, state=state),
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


def definition_yaml(definition: campaign_pb2.TriggerDefinition) -> str:
    """Format a definition as the text of a trigger file, without fields that have their default."""
    trigger, plain = from_definition(definition), Trigger("x", 1, "true")
    fields: dict[str, Any] = {}
    for name, value in asdict(trigger).items():
        if name in ("name", "version", "expression") or value != getattr(plain, name):
            fields[name] = list(value) if isinstance(value, tuple) else value
    if trigger.conditions:
        fields["conditions"] = dict(trigger.conditions)
    text: str = yaml.safe_dump(fields, sort_keys=False, width=110, allow_unicode=True)
    return text

"""Trigger files on their way to the keeper, and definitions on their way back to text."""

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


def library_folder() -> Path:
    """Triggers that are shipped and not started."""
    return config_folder() / "triggers" / "library"


def apply_files(
    folder: Path,
    definitions: list[campaign_pb2.TriggerDefinition],
    campaign: str = DEFAULT_CAMPAIGN,
    reason: str = "",
    dry_run: bool = False,
    state: campaign_pb2.CampaignState.ValueType = campaign_pb2.CAMPAIGN_STATE_UNSPECIFIED,
) -> campaign_pb2.ApplyCampaignResponse:
    """Asks the keeper to bring triggers into force. UserError lists every problem that it found."""
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
    """A definition as its file would say it, without what is at its default."""
    trigger, plain = from_definition(definition), Trigger("x", 1, "true")
    fields: dict[str, Any] = {}
    for name, value in asdict(trigger).items():
        if name in ("name", "version", "expression") or value != getattr(plain, name):
            fields[name] = list(value) if isinstance(value, tuple) else value
    if trigger.conditions:
        fields["conditions"] = dict(trigger.conditions)
    text: str = yaml.safe_dump(fields, sort_keys=False, width=110, allow_unicode=True)
    return text

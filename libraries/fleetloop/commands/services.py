"""`fleetloop services`: admit and revoke the fleet's own services."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.enrolment import Enrolment
from fleetloop.commands.options import FLEET, FOLDER, AsJson, Fleet, Folder
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.layout import RunLayout

app = typer.Typer(help="Admit and revoke the fleet's own services.", no_args_is_help=True)
Service = Annotated[str, typer.Argument(help="The service's name, for example label-desk.")]


@app.command()
def enrol(service: Service, folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """Admit a service by its name. An embedded run admits its own services when it starts for the first time."""
    entry = Enrolment(RunLayout.at(folder), fleet).enrol_service(service, now=datetime.now(UTC))
    print(f"{entry.spiffe_id} is admitted since {entry.since}")


@app.command()
def revoke(
    service: Service,
    reason: Annotated[str, typer.Option(help="Reason, stored with the entry and sent to the caller.")] = "",
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Revoke a service: every other server refuses its next call and ends open ones."""
    enrolment = Enrolment(RunLayout.at(folder), fleet)
    entry = enrolment.revoke(service, kind=IdentityKind.SERVICE, now=datetime.now(UTC), reason=reason)
    print(f"{entry.spiffe_id} is revoked since {entry.revoked}")


@app.command("list")
def list_(as_json: AsJson = False, folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """List all services, including revoked ones."""
    entries = Enrolment(RunLayout.at(folder), fleet).entries(IdentityKind.SERVICE)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1))
        return
    table = Table("service", "since", "revoked", "reason")
    for entry in entries:
        table.add_row(entry.spiffe_id.rpartition("/")[2], entry.since, entry.revoked or "", entry.reason)
    Console().print(table if entries else "No service is admitted yet; `fleetloop up` admits its own.")

"""`fleetloop vehicles`: enrol and revoke vehicles."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.enrolment import Enrolment
from fleetloop.api.installation import recorded_run
from fleetloop.commands.options import (
    FLEET,
    FOLDER,
    AsJson,
    Fleet,
    Folder,
    IssuedFolder,
    Renew,
    Request,
    RequestFolder,
)
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.layout import RunLayout

app = typer.Typer(help="Enrol and revoke vehicles.", no_args_is_help=True)
Vehicle = Annotated[str, typer.Argument(help="The vehicle's id, for example its VIN.")]


@app.command()
def request(
    vehicle: Vehicle,
    out: RequestFolder,
    fleet: Fleet = FLEET,
) -> None:
    """Make a key and a signing request on the vehicle, for `fleetloop vehicles enrol --csr`. The key stays there."""
    path = Enrolment(RunLayout.at(FOLDER), fleet).request(vehicle, kind=IdentityKind.VEHICLE, out=out)
    print(f"Send {path} to an operator, and store cert.pem and ca.pem that you get back beside it.")


@app.command()
def enrol(
    vehicle: Vehicle,
    csr: Request = None,
    out: IssuedFolder = None,
    renew: Renew = False,
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Issue a certificate to a vehicle, admit it, and print the settings of its producer."""
    layout = RunLayout.at(folder)
    issued = Enrolment(layout, fleet).enrol(vehicle, now=datetime.now(UTC), out=out, renew=renew, request=csr)
    state = recorded_run(layout)
    print(f"# {issued.identity.uri}, valid until {issued.not_after:%Y-%m-%d}")
    settings = {
        "FLEETLOOP_FLEET_ID": fleet,
        "FLEETLOOP_VEHICLE_ID": vehicle,
        "FLEETLOOP_TLS_CA": str(issued.ca),
        "FLEETLOOP_TLS_CERT": str(issued.cert),
    }
    if csr is None:
        settings["FLEETLOOP_TLS_KEY"] = str(issued.key)
    if state is not None and "telemetry_gateway_grpc" in state.info:
        settings["FLEETLOOP_TELEMETRY_GATEWAY_ADDRESS"] = state.info["telemetry_gateway_grpc"]
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}")
    if csr is not None:
        print("# FLEETLOOP_TLS_KEY is the key.pem that stayed with its owner; copy the other files beside it")
    if "FLEETLOOP_TELEMETRY_GATEWAY_ADDRESS" not in settings:
        print("# FLEETLOOP_TELEMETRY_GATEWAY_ADDRESS is printed here while `fleetloop up` runs")


@app.command()
def revoke(
    vehicle: Vehicle,
    reason: Annotated[str, typer.Option(help="Reason, stored with the entry and sent to the vehicle.")] = "",
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Revoke a vehicle: every server refuses its next message or call, and ends open calls."""
    entry = Enrolment(RunLayout.at(folder), fleet).revoke(vehicle, now=datetime.now(UTC), reason=reason)
    print(f"{entry.spiffe_id} is revoked since {entry.revoked}")


@app.command("list")
def list_(as_json: AsJson = False, folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """List all vehicles, including revoked ones."""
    entries = Enrolment(RunLayout.at(folder), fleet).entries(IdentityKind.VEHICLE)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1))
        return
    table = Table("vehicle", "since", "certificate", "revoked", "reason")
    for entry in entries:
        name = entry.spiffe_id.rpartition("/")[2]
        table.add_row(name, entry.since, entry.serial[:16], entry.revoked or "", entry.reason)
    Console().print(
        table if entries else "No vehicle is enrolled yet. Enrol one with `fleetloop vehicles enrol VIN`."
    )

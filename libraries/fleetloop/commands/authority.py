"""`fleetloop authority`: renew the fleet's certificate authority."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from fleetloop.api.authority import Authority
from fleetloop.commands.options import FLEET, FOLDER, Fleet, Folder
from fleetloop.layout import RunLayout

app = typer.Typer(help="Renew the fleet's certificate authority, in three steps.", no_args_is_help=True)


def _open(folder: Folder, fleet: Fleet) -> Authority:
    return Authority(RunLayout.at(folder), fleet, datetime.now(UTC))


@app.command()
def status(folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """Show where a renewal stands, and who still has a certificate of the former authority."""
    found = _open(folder, fleet).status()
    print(f"{found.issuer} issues certificates, and expires on {found.not_after:%Y-%m-%d}.")
    if found.next_issuer:
        print(f"{found.next_issuer} is trusted and issues nothing yet; `fleetloop authority switch` comes next.")
    if found.former_issuer:
        print(f"{found.former_issuer} issues no more and is still trusted.")
        for name in found.waiting:
            print(f"  needs a new certificate: {name}")
        if not found.waiting:
            print("  is needed by no one; `fleetloop authority retire` comes next.")


@app.command()
def prepare(folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """Make the next authority, which is trusted and issues nothing yet. Distribute the files of ca.pem afterwards."""
    _open(folder, fleet).prepare()
    print("The next authority is in every ca.pem of this folder. Distribute them, then `fleetloop authority switch`.")


@app.command()
def switch(folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """Issue from the next authority. The former one stays trusted; enrol everybody again meanwhile."""
    _open(folder, fleet).switch()
    print("Enrolments are of the new authority now. Enrol vehicles and people again; `fleetloop authority status`.")


@app.command()
def retire(
    force: Annotated[bool, typer.Option("--force", help="Although some still need it.")] = False,
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """End the trust in the former authority. Refused while certificates that it issued are in use."""
    _open(folder, fleet).retire(force=force)
    print("Only the current authority is trusted.")

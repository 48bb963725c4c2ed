"""`fleetloop users`: enrol and revoke people, and change their roles."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleetloop.api.console_logins import ConsoleLogins
from fleetloop.api.enrolment import Enrolment
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
from fleetloop.layout import LOCAL_USER, RunLayout

app = typer.Typer(help="Enrol and revoke people, and change their roles.", no_args_is_help=True)
User = Annotated[str, typer.Argument(help="The person's name, up to 63 letters, digits, dots, hyphens, underscores.")]
NO_ROLES: list[str] = []


@app.command()
def request(
    user: User,
    out: RequestFolder,
    fleet: Fleet = FLEET,
) -> None:
    """Make your own key and a signing request for `fleetloop users enrol --csr`. The key never leaves the folder."""
    path = Enrolment(RunLayout.at(FOLDER), fleet).request(user, kind=IdentityKind.USER, out=out)
    print(f"Send {path} to an operator, and store cert.pem and ca.pem that you get back beside it.")


@app.command()
def enrol(
    user: User,
    role: Annotated[list[str], typer.Option("--role", help="Role of config/access.yaml; may be repeated.")],
    csr: Request = None,
    out: IssuedFolder = None,
    renew: Renew = False,
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Issue a certificate to a person and admit the person with these roles."""
    issued = Enrolment(RunLayout.at(folder), fleet).enrol(
        user, kind=IdentityKind.USER, roles=role, now=datetime.now(UTC), out=out, renew=renew, request=csr
    )
    print(f"{issued.identity.uri} is enrolled until {issued.not_after:%Y-%m-%d}: {', '.join(sorted(role))}")
    print(f"The certificate is {issued.cert}, its key {issued.key if csr is None else 'with its owner'}.")


@app.command()
def roles(
    user: User,
    add: Annotated[list[str], typer.Option("--add", help="Role to give; may be repeated.")] = NO_ROLES,
    remove: Annotated[list[str], typer.Option("--remove", help="Role to take away; may be repeated.")] = NO_ROLES,
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Change a person's roles, which hold from the next call. Without an option, print them."""
    entry = Enrolment(RunLayout.at(folder), fleet).change_roles(user, add=add, remove=remove)
    print(f"{entry.spiffe_id}: {', '.join(entry.roles) or 'no role'}")


@app.command()
def revoke(
    user: User,
    reason: Annotated[str, typer.Option(help="Reason, stored with the entry and sent to the caller.")] = "",
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Revoke a person: every server refuses the next call and ends open ones."""
    enrolment = Enrolment(RunLayout.at(folder), fleet)
    entry = enrolment.revoke(user, kind=IdentityKind.USER, now=datetime.now(UTC), reason=reason)
    print(f"{entry.spiffe_id} is revoked since {entry.revoked}")


@app.command()
def password(user: User, folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """Set a person's password for the console of a run on this machine. Asks for it, or reads it from a pipe."""
    logins = ConsoleLogins(RunLayout.at(folder), fleet)
    logins.check(user)
    given = (
        typer.prompt(f"Password of {user}", hide_input=True, confirmation_prompt=True)
        if sys.stdin.isatty()
        else sys.stdin.readline().rstrip("\n")
    )
    logins.set_password(user, given)
    print(f"{user} can log in to the console; open sessions of the former password end within seconds.")


@app.command()
def link(
    user: Annotated[str, typer.Argument(help="The person's name.")] = LOCAL_USER,
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
) -> None:
    """Print a link that logs a person in to the console of a run on this machine, once within ten minutes."""
    print(ConsoleLogins(RunLayout.at(folder), fleet).link(user, datetime.now(UTC)))


@app.command("list")
def list_(as_json: AsJson = False, folder: Folder = FOLDER, fleet: Fleet = FLEET) -> None:
    """List all people with their roles, including revoked ones."""
    entries = Enrolment(RunLayout.at(folder), fleet).entries(IdentityKind.USER)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1))
        return
    table = Table("user", "roles", "since", "certificate", "revoked", "reason")
    for entry in entries:
        name = entry.spiffe_id.rpartition("/")[2]
        table.add_row(name, ", ".join(entry.roles), entry.since, entry.serial[:16], entry.revoked or "", entry.reason)
    Console().print(
        table if entries else "No person is enrolled yet. Enrol one with `fleetloop users enrol NAME --role ROLE`."
    )

"""Options that several commands share, so that they have the same name everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetloop.layout import DEFAULT_FOLDER

Folder = Annotated[
    Path, typer.Option("--dir", envvar="FLEETLOOP_DIR", help="Folder of the run, with its ports, logs and state.")
]
FOLDER = DEFAULT_FOLDER
Fleet = Annotated[
    str, typer.Option("--fleet", envvar="FLEETLOOP_FLEET_ID", help="Name of the fleet, part of every identity.")
]
FLEET = "demo"
Request = Annotated[
    Path | None, typer.Option("--csr", help="Signing request of the owner, who keeps the key; makes no key here.")
]
RequestFolder = Annotated[Path, typer.Option("--out", help="Folder for key.pem, which stays there, and request.pem.")]
IssuedFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for cert.pem, ca.pem and, without --csr, key.pem.")
]
Renew = Annotated[bool, typer.Option("--renew", help="Replace the certificate; the old one is refused.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

"""The `fleetloop` command. Its groups are in fleetloop/commands; this module combines them and reports errors.

An error that the user can fix is printed as one sentence with a remedy, and exits 2. Any other exception is a bug: it
is printed as one line, exits 1, and FLEETLOOP_TRACEBACK=1 shows the traceback.
"""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console

from fleetloop.commands import (
    authority,
    datasets,
    demo,
    dlq,
    labels,
    models,
    rollouts,
    run,
    services,
    triggers,
    trust,
    users,
    vehicles,
)
from fleetloop.errors import UserError
from fleetloop.kit.process.private_files import keep_files_private

app = typer.Typer(
    name="fleetloop",
    help="A fleet data engine: from a vehicle's telemetry to a better model on the vehicle.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.add_to(app)
demo.add_to(app)
app.add_typer(vehicles.app, name="vehicles")
app.add_typer(users.app, name="users")
app.add_typer(services.app, name="services")
app.add_typer(authority.app, name="authority")
app.add_typer(trust.app, name="trust")
app.add_typer(triggers.app, name="triggers")
app.add_typer(labels.app, name="labels")
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(dlq.app, name="dlq")


def main() -> None:
    """Run the `fleetloop` command."""
    keep_files_private()
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except UserError as error:
        errors.print(f"[bold red]error:[/] {_plain(error.message)}\n{_plain(error.remedy)}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("FLEETLOOP_TRACEBACK"):
            raise
        errors.print(
            f"[bold red]bug in fleetloop:[/] {type(error).__name__}: {_plain(str(error))}\n"
            "Please report it with the command that you ran; FLEETLOOP_TRACEBACK=1 shows the traceback."
        )
        sys.exit(1)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")

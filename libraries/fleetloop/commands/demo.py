"""`fleetloop demo`: the whole loop, twice, on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetloop.errors import UserError


def add_to(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def demo(
        turns: Annotated[int, typer.Option(min=1, help="Turns of the loop.")] = 2,
        vehicles: Annotated[int, typer.Option(min=4, help="Simulated vehicles.")] = 24,
        drive: Annotated[str, typer.Option(help="Recorded drive to send first.")] = "",
        seed: Annotated[int, typer.Option(help="Seed of everything that chance decides.")] = 1,
        label_myself: Annotated[
            bool, typer.Option("--label-myself", help="You label on the console's page, nobody else does.")
        ] = False,
        folder: Annotated[Path, typer.Option("--dir", help="Folder of the run; made anew.")] = Path(
            ".fleetloop/demo"
        ),
    ) -> None:
        """Bring everything up, drive a fleet, and let the loop turn by itself."""
        try:
            from fleetloop.demo.plan import DemoPlan
            from fleetloop.demo.report import write_reports
            from fleetloop.demo.screen import Screen
            from fleetloop.demo.story import run_demo
        except ModuleNotFoundError as error:
            raise UserError(
                f"The demo needs {error.name}.", "Install all of it: pip install '.[embedded]'."
            ) from error
        screen = Screen()
        plan = DemoPlan(
            turns=turns,
            vehicles=vehicles,
            drive=drive,
            seed=seed,
            label_myself=label_myself,
            turn_within_s=86_400.0 if label_myself else 900.0,
        )
        account = run_demo(folder.resolve(), plan, screen)
        paths = write_reports(account, folder.resolve())
        screen.show_account(account)
        screen.say(f"reports: {', '.join(str(path) for path in paths)}")

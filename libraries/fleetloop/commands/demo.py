"""`fleetloop demo`: the whole loop, twice, on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetloop.errors import UserError


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def demo(
        turns: Annotated[int, typer.Option(min=1, help="Turns of the loop.")] = 2,
        vehicles: Annotated[int, typer.Option(min=4, help="Simulated vehicles.")] = 24,
        drive: Annotated[str, typer.Option(help="Recorded drive to send first.")] = "",
        seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 1,
        label_myself: Annotated[
            bool,
            typer.Option("--label-myself", help="Start no simulated labellers; you label on the console's page."),
        ] = False,
        folder: Annotated[Path, typer.Option("--dir", help="Folder of the run; emptied first.")] = Path(
            ".fleetloop/demo"
        ),
    ) -> None:
        """Start all services, drive a simulated fleet, and let the loop turn by itself."""
        try:
            from fleetloop.demo.plan import DemoPlan
            from fleetloop.demo.report import write_reports
            from fleetloop.demo.scenario import run_demo
            from fleetloop.demo.screen import Screen
        except ModuleNotFoundError as error:
            raise UserError(
                f"The demo needs {error.name}.", "In a clone, run `make setup`; it installs everything."
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
        results = run_demo(folder.resolve(), plan, screen)
        paths = write_reports(results, folder.resolve())
        screen.show_results(results)
        screen.say(f"reports: {', '.join(str(path) for path in paths)}")

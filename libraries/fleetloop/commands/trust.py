"""`fleetloop trust`: renew the trust in models before it expires, and replace its keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from fleetloop.commands.options import FOLDER, Folder
from fleetloop.embedded.trust_renewal import Renewed, renew_trust, rotate_keys
from fleetloop.layout import RunLayout

app = typer.Typer(help="Renew the trust that vehicles have in models, with the offline keys.", no_args_is_help=True)


def _print(renewed: Renewed) -> None:
    print(
        f"Wrote models/{renewed.models_root}.root.json, models/{renewed.targets}.targets.json and "
        f"director/{renewed.director_root}.root.json; they expire on {renewed.expires:%Y-%m-%d}."
    )


@app.command()
def renew(folder: Folder = FOLDER) -> None:
    """Sign roots and top-level targets again with the same keys, for another year."""
    _print(renew_trust(RunLayout.at(folder).signing, datetime.now(UTC)))
    print("Services pick the files up without a restart.")


@app.command()
def rotate(
    role: Annotated[str, typer.Option("--role", help="root, director, timestamp or models.")],
    folder: Folder = FOLDER,
) -> None:
    """Replace the keys of a role. The key of director and timestamp is one, that of the rollout controller."""
    _print(rotate_keys(RunLayout.at(folder).signing, role, datetime.now(UTC)))
    if role == "root":
        print("Move the new files offline/root-*.pem to their offline stores, and destroy the earlier ones.")
    else:
        print("Restart rollout_controller and training_orchestrator, so that they sign with the new key.")

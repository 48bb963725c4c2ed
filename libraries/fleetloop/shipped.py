"""Files that are shipped with fleetloop: in the checkout if there is one, otherwise inside the installed package."""

from __future__ import annotations

from pathlib import Path

from fleetloop.errors import UserError

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


def shipped(in_checkout: str, installed: str) -> Path:
    """Return the path of a shipped file or folder. Raises UserError if this installation lacks it."""
    for path in (_CHECKOUT / in_checkout, _PACKAGE / "data" / installed):
        if path.exists():
            return path
    raise UserError(f"This installation of fleetloop lacks {in_checkout}.", "Reinstall fleetloop.")


def topic_catalogue() -> Path:
    """Return the topic catalogue."""
    return shipped("protos/topics.yaml", "topics.yaml")


def config_folder() -> Path:
    """Return `config/` of the working directory if it exists, otherwise the shipped configuration."""
    own = Path("config")
    return own.resolve() if own.is_dir() else shipped("config", "config")

"""Files that come with fleetloop: below the checkout when run from one, inside the package when installed."""

from __future__ import annotations

from pathlib import Path

from fleetloop.errors import UserError

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


def shipped(in_checkout: str, installed: str) -> Path:
    """The path of a shipped file or folder; UserError if this installation lacks it."""
    for path in (_CHECKOUT / in_checkout, _PACKAGE / "data" / installed):
        if path.exists():
            return path
    raise UserError(f"This installation of fleetloop lacks {in_checkout}.", "Install it again.")


def topic_catalogue() -> Path:
    return shipped("protos/topics.yaml", "topics.yaml")


def config_folder() -> Path:
    """`config/` of the working directory if there is one, else the one that is shipped."""
    own = Path("config")
    return own.resolve() if own.is_dir() else shipped("config", "config")

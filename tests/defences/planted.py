"""Copies of the code with a change in them, so that tests can prove that they notice it.

`make defences` removes one defence at a time, and `make chaos ARGS=mutants` plants one fault at a time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUBS = Path("libraries/fleetloop/protos")
"""The generated stubs: no part of the repository, and imported by everything."""


@dataclass(frozen=True, slots=True)
class Change:
    """One replacement in one file."""

    file: str
    """Path in the repository."""
    old: str
    """Text that occurs once in the file."""
    new: str


def changed(change: Change, text: str) -> str:
    """The text of the change's file with the change. Raises ValueError unless the old text occurs exactly once."""
    count = text.count(change.old)
    if count != 1:
        raise ValueError(f"{change.file}: the text to change occurs {count} times: {change.old!r}")
    return text.replace(change.old, change.new)


def plant(changes: Iterable[Change], folder: Path) -> None:
    """Copy the working tree to a folder that does not exist yet, and make the changes in it.

    Raises ValueError when a change does not fit.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(ROOT / STUBS, folder / STUBS, ignore=shutil.ignore_patterns("*.pyc"))
    for change in changes:
        path = folder / change.file
        path.write_text(changed(change, path.read_text()))

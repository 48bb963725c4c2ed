"""Print the changelog's section of one release: `python scripts/release_notes.py 0.1.0`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


def section(changelog: str, version: str) -> str:
    """Return the text below the heading `## [version]`. Raises KeyError if there is none."""
    match = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog, re.MULTILINE | re.DOTALL)
    if match is None:
        raise KeyError(version)
    return match.group(1).strip()


if __name__ == "__main__":
    try:
        print(section(CHANGELOG.read_text(), sys.argv[1]))
    except KeyError:
        sys.exit(f"CHANGELOG.md has no section for {sys.argv[1]}; add one before tagging")

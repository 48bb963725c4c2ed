"""The threat tables of SECURITY.md, and whether the table of planted changes covers them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.defences.defence import Defence
from tests.defences.planted import ROOT, changed

PAGE = ROOT / "SECURITY.md"
_LINK = re.compile(r"\]\((tests/[^)#]+)\)")


@dataclass(frozen=True, slots=True)
class Row:
    """One threat."""

    threat: str
    tests: tuple[str, ...]
    """Paths that the column of tests links."""


def rows_of(page: str) -> list[Row]:
    """The rows of all tables, without their heads. Raises ValueError for a row without three columns."""
    found = []
    for line in page.splitlines():
        if not line.startswith("|") or line == "| threat | defence | test |" or re.fullmatch(r"[|\s-]+", line):
            continue
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) != 3:
            raise ValueError(f"a row of a threat has three columns: {line}")
        found.append(Row(cells[0], tuple(_LINK.findall(cells[2]))))
    return found


def problems_of(rows: Sequence[Row], defences: Sequence[Defence], root: Path = ROOT) -> Iterator[str]:
    """What does not fit together: threats without a change, and changes without a threat, a test or a place."""
    linked = {row.threat: row.tests for row in rows}
    for threat in linked.keys() - {each.threat for each in defences}:
        yield f"no change removes a defence against: {threat}"
    for name in {each.name for each in defences}:
        if sum(each.name == name for each in defences) > 1:
            yield f"two entries have the name: {name}"
    for each in defences:
        if each.threat not in linked:
            yield f"{each.name}: SECURITY.md has no threat: {each.threat}"
        elif each.test not in linked[each.threat]:
            yield f"{each.name}: the row of the threat does not link {each.test}"
        if not (root / each.test).is_file():
            yield f"{each.name}: there is no {each.test}"
        yield from _misfits(each, root)


def _misfits(defence: Defence, root: Path) -> Iterator[str]:
    if not defence.changes:
        yield f"{defence.name}: it has no change"
    texts: dict[str, str] = {}
    for change in defence.changes:
        path = root / change.file
        try:
            before = texts.get(change.file) or path.read_text()
            texts[change.file] = changed(change, before)
        except (OSError, ValueError) as error:
            yield f"{defence.name}: {error}"

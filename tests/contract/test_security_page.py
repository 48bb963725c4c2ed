"""SECURITY.md: every threat in its tables names a test that exists, and every test of a threat is named."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path("SECURITY.md")
LINK = re.compile(r"\]\((tests/[^)#]+)\)")


def threats() -> list[str]:
    """The rows of the tables, without their heads."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [row for row in rows if row != "| threat | defence | test |" and not re.fullmatch(r"[|\s-]+", row)]


def test_every_threat_names_its_tests_and_they_exist() -> None:
    assert len(threats()) > 20
    for row in threats():
        cells = row.strip("|").split(" | ")
        assert len(cells) == 3, row
        linked = LINK.findall(cells[2])
        assert linked, f"a threat without a test: {row}"
        for path in linked:
            assert Path(path).is_file(), f"{path} does not exist"
            assert re.search(r"^(async )?def test_", Path(path).read_text(), re.MULTILINE), f"{path} has no test"


def test_every_test_of_a_threat_is_named_in_the_page() -> None:
    linked = set(LINK.findall(PAGE.read_text()))
    assert {str(path) for path in Path("tests/security").glob("test_*.py")} - linked == set()

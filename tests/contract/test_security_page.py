"""SECURITY.md: every threat in its tables names a test that exists, and every test of a threat is named."""

from __future__ import annotations

import re
from pathlib import Path

from tests.defences.page import PAGE, rows_of


def test_every_threat_names_its_tests_and_they_exist() -> None:
    rows = rows_of(PAGE.read_text())
    assert len(rows) > 20
    for row in rows:
        assert row.tests, f"a threat without a test: {row.threat}"
        for path in row.tests:
            assert Path(path).is_file(), f"{path} does not exist"
            assert re.search(r"^(async )?def test_", Path(path).read_text(), re.MULTILINE), f"{path} has no test"


def test_every_test_of_a_threat_is_named_in_the_page() -> None:
    linked = {path for row in rows_of(PAGE.read_text()) for path in row.tests}
    assert {str(path) for path in Path("tests/security").glob("test_*.py")} - linked == set()

"""A release's notes are its section of the changelog, and a release without one is refused."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from scripts.release_notes import CHANGELOG, section

ROOT = Path(__file__).parents[3]
TEXT = """# Changelog

## [Unreleased]

- soon

## [0.2.0] - 2027-01-01

- two

## [0.1.0] - 2026-11-27

- one
"""


@pytest.mark.parametrize(("version", "notes"), [("0.2.0", "- two"), ("0.1.0", "- one")])
def test_the_notes_are_the_section_of_the_version(version: str, notes: str) -> None:
    assert section(TEXT, version) == notes


@pytest.mark.parametrize("version", ["0.3.0", "0.1", "0.1.0-rc1", "0x1x0"])
def test_a_version_without_a_section_is_an_error(version: str) -> None:
    with pytest.raises(KeyError):
        section(TEXT, version)


def test_the_packages_version_has_a_section() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert section(CHANGELOG.read_text(), version)


def test_every_release_has_a_date() -> None:
    headings = re.findall(r"(?m)^## (.*)$", CHANGELOG.read_text())
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])

"""The images install what the tests ran with: their pinned files are part of the one that everything is tested by."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS_IN_IMAGES = ("faust", "database", "datasets", "signing", "inference", "console", "tracing")
NOT_IN_IMAGES = ("report", "perception", "embedded")
"""The demo's pictures; torch, which has a file and an image of its own; the sum of all."""


def pins(name: str) -> dict[str, str]:
    """Versions by package of one of the pinned files."""
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE))


def package(requirement: str) -> str:
    """The name in `name[extra]>=1`, as pins spell it."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", ["services.txt", "build.txt"])
def test_an_image_has_the_versions_that_were_tested(name: str) -> None:
    tested = pins("embedded.txt")
    assert {each: version for each, version in pins(name).items() if tested.get(each) != version} == {}


def test_the_services_image_has_what_its_services_ask_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {*EXTRAS_IN_IMAGES, *NOT_IN_IMAGES}
    asked = [*project["dependencies"], *(each for name in EXTRAS_IN_IMAGES for each in extras[name])]
    assert {package(each) for each in asked} - set(pins("services.txt")) == set()


def test_no_file_names_a_registry() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text(), path.name

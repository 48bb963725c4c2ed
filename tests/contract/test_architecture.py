"""ARCHITECTURE.md stays true: every file that it sends a reader to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:libraries|services|protos|config|charts|scripts|tests)/[\w./-]+)`", PAGE)))
MODULES = sorted(set(re.findall(r"`(fleetloop(?:\.[a-z_]+)+)`", PAGE)))
ANSWERS = PAGE.partition("## Where do I change")[2].partition("## Glossary")[0]
TERMS = re.findall(r"(?m)^\| ([a-z, -]+) \|", PAGE.partition("## Glossary")[2].partition("\n## ")[0])


@pytest.mark.parametrize("path", PATHS)
def test_every_path_that_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_it_names_exists(module: str) -> None:
    path = ROOT / "libraries" / module.replace(".", "/")
    # `fleetloop.protos` is generated; a dotted name may end with a function of a module.
    candidates = [path, path.with_suffix(".py"), path.parent.with_suffix(".py")]
    assert module == "fleetloop.protos" or any(each.exists() for each in candidates)


def test_it_answers_twenty_questions_with_a_file_each() -> None:
    rows = [row for row in ANSWERS.splitlines() if (row.startswith("|") and ".py" in row) or "protos/" in row]
    assert len(rows) >= 20


def test_the_glossary_is_sorted_and_defines_each_term_once() -> None:
    terms = [term for term in TERMS if term != "term"]
    assert len(terms) >= 30
    assert terms == sorted(set(terms))

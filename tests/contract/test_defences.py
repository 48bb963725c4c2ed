"""`make defences` covers SECURITY.md: every threat has a change that removes its defence, and every change fits."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.defences.defence import Defence
from tests.defences.page import PAGE, Row, problems_of, rows_of
from tests.defences.planted import ROOT, Change, changed
from tests.defences.table import DEFENCES

HEAD = "| threat | defence | test |\n|---|---|---|\n"
ROW = Row("steals", ("tests/a.py",))


def entry(
    threat: str = "steals", name: str = "a lock", changes: Sequence[Change] = (Change("a.py", "one", "two"),),
    test: str = "tests/a.py",
) -> Defence:  # fmt: skip
    return Defence(threat, name, tuple(changes), test)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    for name in ("tests/a.py", "tests/b.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "a.py").write_text("one thing")
    return tmp_path


def test_every_threat_has_a_change_and_every_change_fits_the_present_code() -> None:
    assert list(problems_of(rows_of(PAGE.read_text()), DEFENCES)) == []


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda each: each.name)
def test_a_changed_file_is_still_what_it_was_and_not_the_same(defence: Defence) -> None:
    files = {change.file: (ROOT / change.file).read_text() for change in defence.changes}
    before = dict(files)
    for change in defence.changes:
        files[change.file] = changed(change, files[change.file])
    for name, text in files.items():
        assert text != before[name]
        if name.endswith(".py"):
            assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(before[name]))


def test_an_entry_that_fits_has_no_problem(root: Path) -> None:
    assert list(problems_of([ROW], [entry()], root)) == []


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([], "no change removes a defence against: steals"),
        ([entry(), entry("lies")], "SECURITY.md has no threat: lies"),
        ([entry(), entry()], "two entries have the name: a lock"),
        ([entry(test="tests/b.py")], "the row of the threat does not link tests/b.py"),
        ([entry(test="tests/c.py")], "there is no tests/c.py"),
        ([entry(changes=())], "it has no change"),
        ([entry(changes=[Change("a.py", "three", "two")])], "the text to change occurs 0 times"),
        ([entry(changes=[Change("a.py", "n", "m")])], "the text to change occurs 2 times"),
        ([entry(changes=[Change("a.py", "one", "two")] * 2)], "the text to change occurs 0 times"),
        ([entry(changes=[Change("b.py", "one", "two")])], "No such file"),
    ],
)
def test_what_does_not_fit_is_named(root: Path, entries: list[Defence], problem: str) -> None:
    assert any(problem in each for each in problems_of([ROW], entries, root))


def test_the_rows_of_all_tables_are_read_and_a_broken_one_is_an_error() -> None:
    page = f"{HEAD}| a, b | c | [d](tests/d.py), [e](tests/e.py) |\n\ntext\n\n{HEAD}| f | g | [h](tests/h.py) |\n"
    assert rows_of(page) == [Row("a, b", ("tests/d.py", "tests/e.py")), Row("f", ("tests/h.py",))]
    with pytest.raises(ValueError, match="three columns"):
        rows_of(f"{HEAD}| a | b |\n")

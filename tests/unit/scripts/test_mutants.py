"""Targets are found, and what cosmic-ray reports is counted: a survivor is never lost among the killed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scripts.mutants import EQUIVALENT, Survivor, survivors_in, target_of


def line(outcome: str | None, worker: str = "normal", number: int = 7) -> str:
    work = {"job_id": "1", "mutations": [{"operator_name": "core/AddNot", "start_pos": [number, 4]}]}
    result = {"worker_outcome": worker, "test_outcome": outcome, "diff": "-a\n+b"} if outcome or worker else None
    return json.dumps([work, result])


def test_survivors_are_listed_in_the_order_of_their_lines() -> None:
    dump = "\n".join([line("survived", number=9), line("killed"), line("survived", number=3)])
    outcomes, survivors = survivors_in(dump)
    assert outcomes == {"killed": 1, "survived": 2}
    assert survivors == [Survivor(3, "AddNot", "-a\n+b"), Survivor(9, "AddNot", "-a\n+b")]


def test_skipped_and_open_faults_do_not_count() -> None:
    outcomes, survivors = survivors_in("\n".join([line(None, "skipped"), json.dumps([{"mutations": []}, None])]))
    assert (sum(outcomes.values()), survivors) == (0, [])


@pytest.mark.parametrize("operator", ["ReplaceBinaryOperator_BitOr_Add", "ReplaceComparisonOperator_Is_Eq"])
def test_faults_that_change_nothing_are_not_tried(operator: str) -> None:
    assert re.search(EQUIVALENT, f"core/{operator}")


@pytest.mark.parametrize("operator", ["ReplaceBinaryOperator_Add_BitOr", "ReplaceComparisonOperator_Is_IsNot"])
def test_others_are(operator: str) -> None:
    assert not re.search(EQUIVALENT, f"core/{operator}")


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_module_is_found_below_services_and_below_the_library(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "services/desk/core.py",
        "tests/unit/desk/test_core.py",
        "libraries/fleetloop/domain/rates.py",
        "tests/unit/fleetloop/domain/test_rates.py",
    )
    assert target_of("desk/core", root).tests == "tests/unit/desk"
    assert target_of("domain/rates", root).source == "libraries/fleetloop/domain/rates.py"


def test_a_module_that_does_not_exist_or_has_no_tests_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path, "services/desk/core.py")
    with pytest.raises(SystemExit, match="there is no module nothing/core"):
        target_of("nothing/core", root)
    with pytest.raises(SystemExit, match="has no tests in tests/unit/desk"):
        target_of("desk/core", root)

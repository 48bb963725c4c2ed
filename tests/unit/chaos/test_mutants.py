"""Each planted fault fits the present code, and the oracle's answer is read from the right stage."""

from __future__ import annotations

import ast

import pytest
from tests.chaos.findings import Fault, Finding
from tests.chaos.mutants import MUTANTS, Mutant, changed, found
from tests.chaos.nemeses.registry import NEMESES
from tests.chaos.report import EpisodeResult
from tests.defences.planted import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_a_mutant_is_one_change_of_the_present_code_and_still_python(mutant: Mutant) -> None:
    before = (ROOT / mutant.file).read_text()
    after = changed(mutant, before)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))
    assert mutant.nemesis in NEMESES


def test_a_change_that_fits_no_more_is_an_error() -> None:
    with pytest.raises(ValueError, match="occurs 0 times"):
        changed(MUTANTS[0], "nothing of the kind")


def test_only_findings_of_its_own_stage_and_fault_count() -> None:
    mutant = MUTANTS[0]
    findings = (
        Finding(mutant.stage, mutant.fault, "a"),
        Finding(mutant.stage, Fault.UNSEEN, "b"),
        Finding("another stage", mutant.fault, "c"),
    )
    assert found(mutant, EpisodeResult("n", 1, ("n",), findings, None, None, "")) == 1
    assert found(mutant, EpisodeResult("n", 1, ("n",), findings[1:], None, None, "")) == 0

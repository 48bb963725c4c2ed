"""What a run of tests proves about a defence, and that the runner finds a change and misses none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.defences.__main__ import chosen_of, table_of
from tests.defences.defence import Defence
from tests.defences.planted import STUBS, Change, changed, plant
from tests.defences.run import Proof, Ran, Runner, Verdict, judge, problem_of_baseline, read_report

REPORT = """<testsuites><testsuite>
<testcase name="passes"/>
<testcase name="is_skipped"><skipped message="no helm"/></testcase>
<testcase name="fails"><failure message="assert 1 == 2">trace</failure></testcase>
<testcase name="has_no_fixture"><error message="failed on setup">trace</error></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_by_outcome() -> None:
    found = read_report(REPORT)
    assert (found.passed, found.failed, found.errors) == (1, {"fails": "assert 1 == 2"}, 1)


@pytest.mark.parametrize(
    ("ran", "verdict", "why"),
    [
        (Ran(1, 3, {"test_a": "assert 1 == 2"}), Verdict.FOUND, "test_a"),
        (Ran(1, 3, {"test_a": "Failed: DID NOT RAISE <class 'grpc.aio.AioRpcError'>"}), Verdict.FOUND, "test_a"),
        (Ran(0, 3), Verdict.NOT_FOUND, "all tests pass"),
        (Ran(0, 0), Verdict.BROKEN, "skipped"),
        (Ran(1, 0, {}, errors=1), Verdict.BROKEN, "no test failed by itself"),
        (Ran(2, 0), Verdict.BROKEN, "exit code 2"),
        (Ran(5, 0), Verdict.BROKEN, "exit code 5"),
        (Ran(1, 0, {"test_a": "NameError: name 'x' is not defined"}), Verdict.BROKEN, "broken the code"),
        (Ran(None), Verdict.BROKEN, "too long"),
    ],
)
def test_only_a_test_that_fails_by_itself_is_a_proof(ran: Ran, verdict: Verdict, why: str) -> None:
    found, said = judge(ran)
    assert found is verdict
    assert why in said


@pytest.mark.parametrize(
    ("ran", "problem"),
    [
        (Ran(0, 1), ""),
        (Ran(0, 0), "no test was run"),
        (Ran(5, 0), "no test was run"),
        (Ran(1, 1, {"test_a": "assert"}), "do not pass"),
        (Ran(None), "too long"),
    ],
)
def test_tests_that_do_not_pass_without_the_change_prove_nothing(ran: Ran, problem: str) -> None:
    assert problem in problem_of_baseline(ran)
    assert bool(problem) is bool(problem_of_baseline(ran))


def test_a_change_is_made_in_a_copy_and_must_occur_once(tmp_path: Path) -> None:
    change = Change("config/access.yaml", "speakers: [fleet-console]", "speakers: []")
    plant([change], tmp_path / "tree")
    assert "speakers: []" in (tmp_path / "tree" / change.file).read_text()
    assert "speakers: [fleet-console]" in Path(change.file).read_text()
    assert (tmp_path / "tree" / STUBS).is_dir()
    for text in ("", "aa"):
        with pytest.raises(ValueError, match=f"occurs {len(text)} times"):
            changed(Change("f", "a", "b"), text)


RULE = "tests/unit/fleet_console/test_attempts.py"


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("        if count < FREE:\n", "        if True:\n", Verdict.FOUND),
        ("MOST_NAMES = 10_000\n", "MOST_NAMES = 10_000  # the same\n", Verdict.NOT_FOUND),
        ("        if count < FREE:\n", "        if count < free:\n", Verdict.BROKEN),
    ],
)
def test_a_defence_is_proven_by_its_tests_and_nothing_is_left(
    tmp_path: Path, old: str, new: str, verdict: Verdict
) -> None:
    change = Change("services/fleet_console/login/attempts.py", old, new)
    proof = Runner(tmp_path).prove(Defence("guesses passwords", "a wait", (change,), RULE))
    assert proof.verdict is verdict, proof.why
    assert not (tmp_path / "tree").exists()


def test_a_selection_without_tests_is_no_proof(tmp_path: Path) -> None:
    change = Change("services/fleet_console/login/attempts.py", "        if count < FREE:\n", "        if True:\n")
    proof = Runner(tmp_path).prove(Defence("guesses passwords", "a wait", (change,), RULE, "nothing_has_this_name"))
    assert proof.verdict is Verdict.BROKEN
    assert "no test was run" in proof.why


def test_defences_are_chosen_by_text_and_quick_ones_need_no_broker() -> None:
    quick = Defence("Guesses", "a wait", (), RULE)
    slow = Defence("guesses", "a broker", (), "tests/security/test_kafka_denies_by_default.py")
    assert chosen_of([quick, slow], ["GUESS"], quick=False) == [quick, slow]
    assert chosen_of([quick, slow], ["broker", "none"], quick=False) == [slow]
    assert chosen_of([quick, slow], [], quick=True) == [quick]
    table = table_of([Proof(quick, Verdict.FOUND, "test_a[1-x]"), Proof(slow, Verdict.NOT_FOUND, "all tests pass")])
    assert "| Guesses | a wait | `test_attempts.py`: `test_a` |" in table
    assert "| guesses | a broker | NOT FOUND |" in table

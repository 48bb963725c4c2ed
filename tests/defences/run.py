"""Run the tests of a defence in a copy of the code, and say what their outcome proves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree

from tests.defences.defence import Defence
from tests.defences.planted import Change, plant

TIMEOUT_S = 900.0
"""Seconds for one run of pytest. Keycloak takes minutes to start on a busy machine."""
_GRACE_S = 60.0
_SPOILED = re.compile(r"(?:\w+\.)*(?:Syntax|Indentation|Name|UnboundLocal|Import|ModuleNotFound|Attribute)Error\b")
"""Errors of code that the change has broken. A test that fails with one says nothing about the defence."""


class Verdict(StrEnum):
    """What a planted change proved."""

    FOUND = "found"
    """The tests failed."""
    NOT_FOUND = "NOT FOUND"
    """The defence can be removed, and no test fails."""
    BROKEN = "broken"
    """The tests do not pass without the change, or could not be run with it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of pytest."""

    code: int | None
    """Exit code; None when the time limit ended it."""
    passed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Messages of the tests that failed, by the test's name."""
    errors: int = 0
    """Tests whose fixtures failed."""
    output: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict on one defence."""

    defence: Defence
    verdict: Verdict
    why: str
    """The test that failed, or the reason of another verdict."""
    seconds: float = 0.0


def read_report(report: str) -> Ran:
    """The counts and failures in pytest's report in JUnit's format. The exit code is not in it."""
    passed, errors, failed = 0, 0, {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        failure = case.find("failure")
        if failure is not None:
            failed[case.get("name", "")] = failure.get("message", "")
        elif case.find("error") is not None:
            errors += 1
        elif case.find("skipped") is None:
            passed += 1
    return Ran(None, passed, failed, errors)


def problem_of_baseline(ran: Ran) -> str:
    """Why tests prove nothing, by their run without a change; empty when they pass."""
    if ran.code is None:
        return "without the change, the tests take too long"
    if ran.code == 5 or (ran.code == 0 and not ran.passed):
        return "without the change, no test was run: all are skipped or none is selected"
    if ran.code != 0:
        return f"without the change, the tests do not pass: {ran.output[-400:]}"
    return ""


def judge(ran: Ran) -> tuple[Verdict, str]:
    """What a run with a change proves, when the same tests pass without it."""
    if ran.code is None:
        return Verdict.BROKEN, "with the change, the tests take too long"
    if ran.code == 0:
        return (Verdict.NOT_FOUND, "all tests pass") if ran.passed else (Verdict.BROKEN, "all tests were skipped")
    if ran.code != 1 or not ran.failed:
        return Verdict.BROKEN, f"no test failed by itself, exit code {ran.code}: {ran.output[-400:]}"
    name, message = next(iter(ran.failed.items()))
    if _SPOILED.match(message):
        return Verdict.BROKEN, f"{name}: the change has broken the code: {message[:200]}"
    return Verdict.FOUND, name


class Runner:
    """Runs the tests of defences in one folder, in a copy of the code that is always at the same path.

    So what Numba compiles for one copy serves the others.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._tree = scratch / "tree"
        self._baselines: dict[tuple[str, str], str] = {}

    def prove(self, defence: Defence) -> Proof:
        """Remove the defence and run its tests, which have to pass without the change."""
        began_s = time.monotonic()
        selection = (defence.test, defence.only)
        if selection not in self._baselines:
            self._baselines[selection] = problem_of_baseline(self._run(defence, ()))
        verdict, why = Verdict.BROKEN, self._baselines[selection]
        if not why:
            verdict, why = judge(self._run(defence, defence.changes))
        return Proof(defence, verdict, why, time.monotonic() - began_s)

    def _run(self, defence: Defence, changes: tuple[Change, ...]) -> Ran:
        plant(changes, self._tree)
        report = self._scratch / "report.xml"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += [
            f"--basetemp={self._scratch / 'tmp'}",
            defence.test,
            *(["-k", defence.only] if defence.only else []),
        ]
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(self._tree / name) for name in ("libraries", "services")),
            "NUMBA_CACHE_DIR": str(self._scratch / "numba"),
        }
        began_s = time.monotonic()
        try:
            code, output = _output_of(command, self._tree, env)
            seconds = time.monotonic() - began_s
            if code is None or not report.exists():
                return Ran(code, output=output, seconds=seconds)
            found = read_report(report.read_text())
            return Ran(code, found.passed, found.failed, found.errors, output, seconds)
        finally:
            for left in (self._tree, self._scratch / "tmp"):
                shutil.rmtree(left, ignore_errors=True)
            report.unlink(missing_ok=True)


def _output_of(command: list[str], folder: Path, env: dict[str, str]) -> tuple[int | None, str]:
    """The exit code, None after the time limit, and what was printed. Tests are interrupted so that they clean up."""
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, _interrupted(process)
    except BaseException:
        _interrupted(process)
        raise


def _interrupted(process: subprocess.Popen[str]) -> str:
    """Interrupt pytest, so that fixtures stop what they started; kill it and its group when that takes too long."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=_GRACE_S)[0]
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]

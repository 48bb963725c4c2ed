"""For every test: no example has a deadline; in CI examples are always the same, and no test is skipped."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings
from tests.databases import database_url, postgres, postgres_if_installed

__all__ = ["database_url", "postgres", "postgres_if_installed"]

# An example that takes longer than 200 ms says something about the machine's load, and nothing about the code.
# CI plays the same examples each time, so that it fails for a change and not for a draw. Everywhere else they are
# random, and what they find is corrected like any other fault.
settings.register_profile("fleetloop", deadline=None, derandomize="FLEETLOOP_NO_SKIPS" in os.environ)
settings.load_profile("fleetloop")

_RECORDING = "comma2k19"
"""A real recording, used where it is found; no package has it. The reason of a skip for want of it names it."""

_FORBIDDEN = ("no namespaces here", "mounting a small disk")
"""The kernel or a container may forbid them, and nothing that could be installed changes that."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure where FLEETLOOP_NO_SKIPS is set, but for want of what nothing can install."""
    report = yield
    reason = str(report.longrepr)
    allowed = hasattr(report, "wasxfail") or _RECORDING in reason or any(each in reason for each in _FORBIDDEN)
    if report.skipped and os.environ.get("FLEETLOOP_NO_SKIPS") and not allowed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"
    return report

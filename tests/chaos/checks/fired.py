"""The announced firings are those that the detector's core computes in one go over the same batches."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.observed import Fired

STAGE = "detector"


def check(computed: Sequence[Fired], announced: Sequence[Fired]) -> list[Finding]:
    """Compare the two. A firing may be announced several times, if it is the same each time."""
    by_id: dict[str, set[Fired]] = {}
    for firing in announced:
        by_id.setdefault(firing.firing_id, set()).add(firing)
    required = {firing.firing_id for firing in computed}
    findings = compare(STAGE, required, by_id, required)
    expected = {firing.firing_id: firing for firing in computed}
    for firing_id, versions in by_id.items():
        versions = versions | ({expected[firing_id]} if firing_id in expected else set())
        if len(versions) > 1:
            detail = f"{len(versions)} different firings have this id"
            findings.append(Finding(STAGE, Fault.DOUBLED, firing_id, detail))
    return sorted(findings)

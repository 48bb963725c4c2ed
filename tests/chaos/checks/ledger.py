"""The keeper's ledger has, for each trigger version, the numbers that the topics have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.chaos.checks.labelled import AGREED
from tests.chaos.findings import Fault, Finding
from tests.chaos.observed import Earnings, Ended, Fired

STAGE = "ledger"
COUNTERS = ("fired", "clips", "tasks", "labelled", "kept")


def required(
    fired: Sequence[Fired],
    clips: Mapping[str, str],
    tasks: Mapping[str, str],
    ended: Sequence[Ended],
    kept: Mapping[tuple[str, int], int],
) -> Counter[tuple[str, int, str]]:
    """The numbers that the topics have: each event counts once, whatever is repeated.

    Args:
        fired: Every message of fleet.trigger.v1.
        clips: Announced clip event -> its firing.
        tasks: Announced label task -> its firing.
        ended: Announced ends of label tasks.
        kept: (trigger, version) -> samples in the announced dataset versions.
    """
    version_of = {each.firing_id: (each.trigger, each.version) for each in fired}
    counts: Counter[tuple[str, int, str]] = Counter()
    for version in version_of.values():
        counts[*version, "fired"] += 1
    for firing in clips.values():
        if firing in version_of:
            counts[*version_of[firing], "clips"] += 1
    for firing in tasks.values():
        if firing in version_of:
            counts[*version_of[firing], "tasks"] += 1
    for each in {each.event_id: each for each in ended}.values():
        firing = tasks.get(each.task_id, "")
        if each.outcome == AGREED and firing in version_of:
            counts[*version_of[firing], "labelled"] += 1
    for version, samples in kept.items():
        counts[*version, "kept"] += samples
    return counts


def check(expected: Mapping[tuple[str, int, str], int], found: Earnings) -> list[Finding]:
    """Compare the ledger with these numbers."""
    findings = []
    for key in sorted({*expected, *found}):
        wanted, counted = expected.get(key, 0), found.get(key, 0)
        if key[2] in COUNTERS and wanted != counted:
            fault = Fault.LOST if counted < wanted else Fault.DOUBLED
            findings.append(Finding(STAGE, fault, f"{key[0]}@{key[1]} {key[2]}", f"{counted} instead of {wanted}"))
    return findings

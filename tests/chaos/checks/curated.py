"""Every agreed label is a sample of a dataset or was refused, and no sample is both or twice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tests.chaos.checks.labelled import AGREED
from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.observed import Ended

STAGE = "curator"


def check(ended: Sequence[Ended], added: Sequence[str], refused: Collection[str]) -> list[Finding]:
    """Compare the samples that were added or refused with those whose labellers agreed."""
    agreed = {each.sample_id for each in ended if each.outcome == AGREED}
    both = set(added) & set(refused)
    findings = compare(STAGE, agreed, [*added, *(set(refused) - both)], agreed)
    findings += [Finding(STAGE, Fault.DOUBLED, each, "added and refused") for each in both]
    return sorted(findings)

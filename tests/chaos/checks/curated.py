"""Every agreed label is a sample of a dataset once, unless its clip has a content that nothing may be made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tests.chaos.checks.labelled import AGREED
from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.observed import Ended

STAGE = "curator"


def check(
    ended: Sequence[Ended],
    added: Sequence[str],
    refused: Collection[str],
    tasks: Mapping[str, str],
    hostile: Mapping[str, str],
) -> list[Finding]:
    """Compare the samples that were added or refused with those whose labellers agreed.

    The pictures of all honest clips differ, so that there is no reason to refuse one.

    Args:
        ended: Announced ends of label tasks.
        added: Sample ids of all rows, with repeats.
        refused: Samples that the curator refused.
        tasks: Announced label task -> its firing.
        hostile: Firing whose clip must be refused -> name of the input.
    """
    agreed = {each.sample_id: tasks.get(each.task_id, "") for each in ended if each.outcome == AGREED}
    honest = {sample for sample, firing in agreed.items() if firing not in hostile}
    both = set(added) & set(refused)
    findings = compare(STAGE, agreed, [*added, *(set(refused) - both)], agreed)
    findings += [Finding(STAGE, Fault.DOUBLED, each, "added and refused") for each in both]
    findings += [Finding(STAGE, Fault.LOST, each, "refused without a reason") for each in honest & set(refused)]
    findings += [
        Finding(STAGE, Fault.UNSEEN, each, f"{hostile[agreed[each]]} was accepted")
        for each in agreed.keys() - honest
        if each in added
    ]
    return sorted(findings)

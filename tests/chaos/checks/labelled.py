"""Every label task ends once, and as the labellers' script decides."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.labellers import scripted_outcome
from tests.chaos.observed import Ended

STAGE = "desk"
AGREED = "agreed"


def check(tasks: Collection[str], ended: Sequence[Ended]) -> list[Finding]:
    """Compare the announced ends with the announced tasks. An open task is stuck: the labellers answer all."""
    outcomes = {each.event_id: each for each in ended}
    findings = compare(STAGE, tasks, [each.task_id for each in outcomes.values()], tasks)
    wrong = {each for each in outcomes.values() if each.outcome != scripted_outcome(each.task_id)}
    return sorted(
        [
            Finding(STAGE, Fault.STUCK, each.id, "no outcome yet") if each.fault is Fault.LOST else each
            for each in findings
        ]
        + [
            Finding(STAGE, Fault.UNSEEN, each.task_id, f"{each.outcome} instead of {scripted_outcome(each.task_id)}")
            for each in wrong
        ]
    )

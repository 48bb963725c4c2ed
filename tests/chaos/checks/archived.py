"""Every acknowledged batch is in the archive once and unchanged, and nothing is there that was not sent."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.findings import Fault, Finding, compare
from tests.chaos.history import History
from tests.chaos.observed import Archived

STAGE = "archive"


def check(history: History, archived: Sequence[Archived]) -> list[Finding]:
    """Compare the archive with the history. A batch whose acknowledgement was lost may be in the archive."""
    findings = compare(STAGE, history.acknowledged, [each.batch_id for each in archived], history.sent.keys())
    findings += [
        Finding(STAGE, Fault.DOUBLED, each.batch_id, "its content differs from what was sent")
        for each in archived
        if each.content != history.contents.get(each.batch_id, each.content)
    ]
    return sorted(findings)


def check_senders(history: History) -> list[Finding]:
    """Every batch and report that a sender still waits for is stuck; a refused one of an honest sender is lost."""
    waiting = history.sent.keys() - history.acknowledged - history.refused.keys()
    findings = [Finding("sender", Fault.STUCK, each, history.sent[each]) for each in waiting]
    findings += [Finding("sender", Fault.LOST, each, why) for each, why in history.refused.items()]
    reports = history.reports_sent.keys() - history.reports_acknowledged
    findings += [Finding("sender", Fault.STUCK, each, "report") for each in reports]
    return sorted(findings)

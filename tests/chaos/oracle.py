"""Follows every id of a history through the stages and says what is wrong: a pure function over plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.chaos.checks import archived, curated, dead_letters, driven, fired, labelled, ledger, routed, summed
from tests.chaos.findings import Fault, Finding
from tests.chaos.history import History
from tests.chaos.observed import Observed


def judge(history: History, seen: Observed) -> list[Finding]:
    """Compare all stages with the history. A stage that could not be read counts as stuck."""
    findings = [Finding(stage, Fault.STUCK, "cannot be read", why) for stage, why in seen.unreadable.items()]
    findings += archived.check_senders(history)
    if seen.archived is not None:
        findings += archived.check(history, seen.archived)
    if seen.computed is not None and seen.fired is not None:
        findings += fired.check(seen.computed, seen.fired)
    if seen.fired is not None:
        findings += driven.check(history, seen.fired)
    findings += _loop(history, seen)
    if seen.sums is not None:
        findings += summed.check(history.sums(), seen.sums)
    if seen.dead_letters is not None:
        findings += dead_letters.check(history.planted, seen.dead_letters)
    findings += dead_letters.check_door(history.planted, history.door)
    return sorted(findings)


def _loop(history: History, seen: Observed) -> list[Finding]:
    """The stages between a firing and a dataset."""
    if seen.fired is None or seen.clips is None or seen.tasks is None or seen.ended is None:
        return []
    findings = routed.check_clips(history.clips, seen.clip_of)
    ids = {each.firing_id for each in seen.fired}
    if seen.routed is not None:
        findings += routed.check(ids, seen.routed, history.clips, seen.tasks)
    findings += labelled.check(seen.tasks.keys(), seen.ended)
    if seen.added is not None and seen.refused is not None:
        findings += curated.check(seen.ended, seen.added, seen.refused, seen.tasks, history.hostile)
    if seen.ledger is not None:
        expected = ledger.required(seen.fired, seen.clips, seen.tasks, seen.ended, seen.kept)
        findings += ledger.check(expected, seen.ledger)
    return findings


def late_or_lost(at_limit: Sequence[Finding], at_end: Sequence[Finding]) -> list[Finding]:
    """Findings at the limit, seen again later: what has arrived meanwhile was stuck, and what has not is lost."""
    remaining = {(each.stage, each.fault, each.id) for each in at_end}
    settled = [
        Finding(each.stage, Fault.STUCK, each.id, f"late: {each.detail}".rstrip(": "))
        for each in at_limit
        if (each.stage, each.fault, each.id) not in remaining
    ]
    return sorted({*settled, *at_end})


def counts(history: History, seen: Observed) -> dict[str, int]:
    """How much was compared, so that a run in which nothing happened cannot pass for a good one."""
    decisions = Counter(each.progress for each in seen.routed or ())
    return {
        "batches": len(history.acknowledged),
        "reports": len(history.reports_acknowledged),
        "firings": len({each.firing_id for each in seen.fired or ()}),
        "routed": decisions[routed.ROUTED],
        "dropped": decisions[routed.DROPPED],
        "clips": len(history.clips),
        "labels": len({each.task_id for each in seen.ended or ()}),
        "samples": len(seen.added or ()),
        "planted": len(history.planted),
    }

"""The dead-letter queues hold exactly the planted messages, from every service that must refuse them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.chaos.findings import Fault, Finding
from tests.chaos.history import Planted
from tests.chaos.observed import DeadLetter

STAGE = "dead-letter queue"


def check(planted: Sequence[Planted], found: Sequence[DeadLetter]) -> list[Finding]:
    """Compare the queues with what was planted.

    A service that dies between the queue and its commit sends a message there again, under the same origin; that
    counts once.
    """
    required = {(each.mark, service): each for each in planted for service in each.refused_by}
    there = {(each.mark, each.service): each for each in found}
    findings = [
        Finding(STAGE, Fault.LOST, mark, f"{each.kind}: {service} did not set it aside")
        for (mark, service), each in required.items()
        if (mark, service) not in there
    ]
    findings += [
        Finding(STAGE, Fault.UNSEEN, each.origin, f"{service}: {each.error}")
        for (mark, service), each in there.items()
        if (mark, service) not in required
    ]
    return sorted(findings)


UNTYPED = frozenset({"UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "NO_ANSWER"})
"""What a caller sees of a server that failed, instead of an answer that names the fault."""


def check_door(planted: Sequence[Planted], answers: Mapping[str, str]) -> list[Finding]:
    """Every planted message that must be refused at a door was refused with a typed error."""
    at_door = [each for each in planted if not each.topic]
    findings = [
        Finding("door", Fault.STUCK, each.mark, f"{each.kind}: no answer")
        for each in at_door
        if each.mark not in answers
    ]
    findings += [
        Finding("door", Fault.UNSEEN, each.mark, f"{each.kind} was accepted")
        for each in at_door
        if answers.get(each.mark) == ""
    ]
    findings += [
        Finding("door", Fault.STUCK, each.mark, f"{each.kind}: {answers[each.mark]} is no typed error")
        for each in at_door
        if answers.get(each.mark) in UNTYPED
    ]
    return sorted(findings)

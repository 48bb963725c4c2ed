"""What a check can find, in the same four words at every stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """How the outcome of one thing differs from what must be."""

    LOST = "lost"
    """It went in and did not come out."""
    DOUBLED = "doubled"
    """It came out more than once."""
    UNSEEN = "unseen"
    """It came out and never went in."""
    STUCK = "stuck"
    """It is on its way, and should have arrived by now."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One violation of an invariant."""

    stage: str
    fault: Fault
    id: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.stage}: {self.fault.value}: {self.id}{f' ({self.detail})' if self.detail else ''}"


def compare(stage: str, required: Collection[str], found: Iterable[str], allowed: Collection[str]) -> list[Finding]:
    """Compare what a stage holds with what it must hold.

    Args:
        stage: Name of the stage.
        required: Each of these must be there.
        found: What is there, with repeats.
        allowed: What may be there. It includes `required`: a batch whose acknowledgement was lost may be stored.
    """
    counts = Counter(iter(found))  # a mapping would be taken for counts
    findings = [Finding(stage, Fault.LOST, each) for each in required if each not in counts]
    findings += [
        Finding(stage, Fault.DOUBLED, each, f"{number} times") for each, number in counts.items() if number > 1
    ]
    findings += [Finding(stage, Fault.UNSEEN, each) for each in counts if each not in allowed]
    return sorted(findings)


def count_faults(findings: Iterable[Finding]) -> dict[Fault, int]:
    """How many findings there are of each fault, with a zero for those that there are none of."""
    counts = Counter(finding.fault for finding in findings)
    return {fault: counts[fault] for fault in Fault}

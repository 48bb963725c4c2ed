"""What a gate says, and the verdict of all gates together."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetloop.domain.run_folder import Gate


@dataclass(frozen=True, slots=True)
class Undecided:
    """A question that too few scenes of a slice answer: it neither passes nor fails."""

    question: str
    slice: str
    scenes: int
    more: int
    """Scenes that are needed in addition."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate says, with the reasons as sentences."""

    passed: bool
    reasons: list[str]
    undecided: tuple[Undecided, ...] = ()


def undecided_text(undecided: Sequence[Undecided]) -> list[str]:
    """At most one sentence on what is not decided."""
    if not undecided:
        return []
    most = ", ".join(f"{each.question} in {each.slice} ({each.more} more scenes)" for each in undecided[:10])
    further = f", and {len(undecided) - 10} more" if len(undecided) > 10 else ""
    return [f"Not decided for want of scenes: {most}{further}."]


def gate(name: str, verdict: Verdict) -> Gate:
    """A verdict as it stands in the result of a run."""
    return Gate(name=name, passed=verdict.passed, reasons=verdict.reasons)


def combined(gates: Sequence[Gate]) -> tuple[bool, list[str]]:
    """Whether all gates passed, and the reasons: those of the gates that refused it first.

    No gate at all is not passed.
    """
    ordered = sorted(gates, key=lambda each: each.passed)  # stable
    reasons = [
        reason if each.passed else f"Refused by {each.name}: {reason}" for each in ordered for reason in each.reasons
    ]
    return bool(gates) and all(each.passed for each in gates), reasons

"""The monitor's sums equal those of the acknowledged reports, to the last digit.

The senders use amounts that binary fractions hold exactly, so the order of additions cannot make a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tests.chaos.findings import Fault, Finding

STAGE = "monitor"


def check(required: Mapping[str, Fraction], found: Mapping[str, Fraction]) -> list[Finding]:
    """Compare each sum: too small means that something is lost, too large that it was counted twice."""
    findings = []
    for name, amount in required.items():
        counted = found.get(name, Fraction(0))
        if counted != amount:
            fault = Fault.LOST if counted < amount else Fault.DOUBLED
            findings.append(Finding(STAGE, fault, name, f"{float(counted)} instead of {float(amount)}"))
    return sorted(findings)

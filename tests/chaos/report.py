"""The table of results: per nemesis how often it worked, what was found, and how long recovery took."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.findings import Fault, Finding, count_faults


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """The outcome of one episode."""

    name: str
    seed: int
    acts: tuple[str, ...]
    findings: tuple[Finding, ...]
    recovery_s: float | None
    """Seconds from the end of the last act until everything worked again; None: it did not within the limit."""
    settled_s: float | None
    """Seconds from there until every invariant held, with the senders at rest; None: they did not in time."""
    history: str
    """File of the history."""
    skipped: str = ""
    """Why the episode did not take place."""
    compared: Mapping[str, int] = field(default_factory=dict)
    """How much the oracle compared, since the start of the system."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return asdict(self)


def result_from(raw: Mapping[str, Any]) -> EpisodeResult:
    """Read what `to_dict` has returned."""
    findings = tuple(
        Finding(each["stage"], Fault(each["fault"]), each["id"], each["detail"]) for each in raw["findings"]
    )
    return EpisodeResult(**{**raw, "findings": findings, "acts": tuple(raw["acts"])})


def table(results: Sequence[EpisodeResult]) -> str:
    """Return a Markdown table with one row per nemesis, in alphabetical order and mixed episodes last."""
    lines = [
        "| nemesis | runs | lost | doubled | unseen | stuck | recovery, median s | recovery, max s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted({each.name for each in results}, key=lambda name: (name == "mixed", name)):
        mine = [each for each in results if each.name == name]
        ran = [each for each in mine if not each.skipped]
        if not ran:
            lines.append(f"| {name} | 0 ({mine[0].skipped}) | - | - | - | - | - | - |")
            continue
        faults = count_faults(finding for each in ran for finding in each.findings)
        times = [each.recovery_s for each in ran if each.recovery_s is not None]
        never = len(ran) - len(times)
        median = f"{statistics.median(times):.1f}" if times else "-"
        most = (f"{max(times):.1f}" if times else "-") + (f" ({never} never)" if never else "")
        cells = [str(faults[fault]) for fault in (Fault.LOST, Fault.DOUBLED, Fault.UNSEEN, Fault.STUCK)]
        lines.append(f"| {name} | {len(ran)} | {' | '.join(cells)} | {median} | {most} |")
    return "\n".join(lines) + "\n"

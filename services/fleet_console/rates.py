"""Counters and their rates between two polls. Pure."""

from __future__ import annotations

from fleet_console.model import Counts, Facts
from fleet_console.wording import number
from fleetloop.kit.process.clock import ns_to_seconds


def counts_of(facts: Facts, at_monotonic_ns: int) -> Counts:
    """The counters of which rates are shown."""
    here = {peer: peer not in facts.away for peer in ("telemetry_archiver", "campaign_keeper", "label_desk")}
    earnings, projects = facts.ledger.earnings, facts.progress.projects
    return Counts(
        at_monotonic_ns,
        frames=archived_frames(facts) if here["telemetry_archiver"] else None,
        fired=sum(row.fired for row in earnings) if here["campaign_keeper"] else None,
        clips=sum(row.clips for row in earnings) if here["campaign_keeper"] else None,
        labels=sum(sum(project.ended.values()) for project in projects) if here["label_desk"] else None,
    )


def archived_frames(facts: Facts) -> int:
    """Frames of all vehicles."""
    return sum(vehicle.frames for vehicle in facts.archive.vehicles)


def rate(earlier: Counts | None, later: Counts, name: str) -> float | None:
    """Events per second between two polls; None without two polls, or when the counter restarted."""
    if earlier is None or later.at_monotonic_ns <= earlier.at_monotonic_ns:
        return None
    before, after = getattr(earlier, name), getattr(later, name)
    if before is None or after is None or after < before:
        return None
    return float(after - before) / ns_to_seconds(later.at_monotonic_ns - earlier.at_monotonic_ns)


def rate_text(per_s: float | None, thing: str) -> str:
    """A rate as text, such as 120 frames/s; rare events per minute."""
    if per_s is None:
        return "measuring"
    if per_s >= 1:
        return f"{number(per_s)} {thing}/s"
    per_min = per_s * 60
    return f"{per_min:.1f} {thing}/min" if 0 < per_min < 10 else f"{number(per_min)} {thing}/min"

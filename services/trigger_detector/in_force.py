"""Which triggers a process has in force: the one answer for the keeper and for operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trigger_detector.campaigns import CampaignBook
from trigger_detector.plan import Plan


@dataclass(frozen=True, slots=True)
class CampaignInForce:
    """A running campaign as this process evaluates it."""

    campaign: str
    revision: int
    triggers: Mapping[str, int]
    """Name -> version of the triggers of this revision that are evaluated."""


def in_force(book: CampaignBook, plan: Plan) -> list[CampaignInForce]:
    """The newest revision of every running campaign, with those of its triggers that are evaluated.

    The plan also holds the triggers of the revision before, for events from before the newest one counts. They are
    not in force: a trigger that the newest revision no longer has fires for late events only.
    """
    found = []
    for revision in book.newest():
        if not revision.running:
            continue
        own = {(trigger.name, trigger.version) for trigger in revision.triggers}
        evaluated = [active.trigger for active in plan.actives if active.campaign == revision.campaign]
        triggers = {each.name: each.version for each in evaluated if (each.name, each.version) in own}
        found.append(CampaignInForce(revision.campaign, revision.revision, triggers))
    return found

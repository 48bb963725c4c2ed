"""Which campaigns are known, and from which event time on each revision is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trigger_detector.model import CampaignRevision

_KEPT = 4
"""Revisions that are kept per campaign, so that frames from before a change are evaluated with what was in force
then.
"""


@dataclass(slots=True)
class CampaignBook:
    """Revisions by campaign, oldest first."""

    _revisions: dict[str, list[CampaignRevision]] = field(default_factory=dict)

    def add(self, revision: CampaignRevision) -> bool:
        """Adds a revision unless it is the newest one or older; returns whether it was added."""
        known = self._revisions.setdefault(revision.campaign, [])
        if known and revision.revision <= known[-1].revision:
            return False
        known.append(revision)
        if revision.in_force_from_utc_ns <= 0:
            del known[:-1]
        del known[:-_KEPT]
        return True

    def remove(self, campaign: str) -> bool:
        """Removes a campaign that was deleted from the topic; returns whether it was known."""
        return self._revisions.pop(campaign, None) is not None

    def in_force(self) -> Sequence[tuple[CampaignRevision, int]]:
        """Every revision with the event time at which the next one replaces it (0: none does)."""
        pairs = []
        for revisions in self._revisions.values():
            for this, following in zip(revisions, [*revisions[1:], None], strict=True):
                pairs.append((this, following.in_force_from_utc_ns if following else 0))
        return sorted(pairs, key=lambda p: (p[0].campaign, p[0].revision))

    def newest(self) -> Sequence[CampaignRevision]:
        """The newest revision of each campaign."""
        return [revisions[-1] for _, revisions in sorted(self._revisions.items())]

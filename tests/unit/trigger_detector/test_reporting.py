"""A detector says what it evaluates: of running campaigns, in the newest revision, without what it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetloop.domain.signals import load_catalogue
from fleetloop.protos.detect.v1 import detect_pb2
from fleetloop.triggerlang.trigger import Trigger
from trigger_detector.campaigns import CampaignBook
from trigger_detector.model import CampaignRevision, Limits
from trigger_detector.plan import Plan, make_plan
from trigger_detector.reporting import report_of
from trigger_detector.rpc import DetectorService

CATALOGUE = load_catalogue(Path(__file__).parents[3] / "config" / "signals.yaml")
FAST = Trigger("fast", 2, "Vehicle.Speed > 50 km/h")


@dataclass
class Stream:
    book: CampaignBook = field(default_factory=CampaignBook)
    plan: Plan = field(default_factory=lambda: make_plan([], CATALOGUE, Limits())[0])
    refused: Mapping[str, str] = field(default_factory=dict)
    partitions: Sequence[object] = ()
    firings: int = 0

    def add(self, *revisions: CampaignRevision) -> None:
        for revision in revisions:
            self.book.add(revision)
        self.plan, problems = make_plan(self.book.in_force(), CATALOGUE, Limits())
        self.refused = {problem.trigger: problem.message for problem in problems}

    def assigned(self) -> Sequence[int]:
        return [0, 3]

    def vehicles(self) -> int:
        return 12

    def state_bytes(self) -> int:
        return 0


def test_what_runs_is_named_with_its_versions_and_what_cannot_with_the_reason() -> None:
    stream = Stream()
    stream.add(
        CampaignRevision("a", 4, True, (FAST, Trigger("wrong", 1, "Vehicle.Sped > 50 km/h"))),
        CampaignRevision("held", 2, False, (Trigger("idle", 1, "Vehicle.Speed > 9 km/h"),)),
    )
    report = report_of(stream, "d-0")
    assert [(c.campaign, c.revision, dict(c.triggers)) for c in report.campaigns] == [("a", 4, {"fast": 2})]
    assert (report.reporter, list(report.partitions), report.vehicles) == ("d-0", [0, 3], 12)
    assert "Vehicle.Sped" in report.refused["wrong"]


async def test_a_trigger_that_the_newest_revision_no_longer_has_is_in_force_nowhere() -> None:
    """The report to the keeper and the answer to operators agree, also while late events need the old triggers."""
    slow, newer = Trigger("slow", 1, "Vehicle.Speed < 9 km/h"), Trigger("fast", 3, "Vehicle.Speed > 60 km/h")
    stream = Stream()
    stream.add(CampaignRevision("a", 1, True, (FAST, slow)), CampaignRevision("a", 2, True, (newer,), 5 * 10**9))
    evaluated = [(a.trigger.name, a.trigger.version, a.from_utc_ns, a.until_utc_ns) for a in stream.plan.actives]
    at_ns = 5 * 10**9
    assert evaluated == [("fast", 2, 0, at_ns), ("slow", 1, 0, at_ns), ("fast", 3, at_ns, 0)]
    (reported,) = report_of(stream, "d").campaigns
    answer = await DetectorService(stream).GetDetector(detect_pb2.GetDetectorRequest(), None)  # type: ignore[arg-type]
    (answered,) = answer.campaigns
    for campaign in (reported, answered):
        assert (campaign.campaign, campaign.revision, dict(campaign.triggers)) == ("a", 2, {"fast": 3})


async def test_what_is_not_running_or_cannot_run_is_in_force_nowhere() -> None:
    stream = Stream()
    stream.add(
        CampaignRevision("a", 4, True, (FAST, Trigger("wrong", 1, "Vehicle.Sped > 50 km/h"))),
        CampaignRevision("held", 2, False, (Trigger("idle", 1, "Vehicle.Speed > 9 km/h"),)),
    )
    answer = await DetectorService(stream).GetDetector(detect_pb2.GetDetectorRequest(), None)  # type: ignore[arg-type]
    assert [(each.campaign, dict(each.triggers)) for each in answer.campaigns] == [("a", {"fast": 2})]


def test_of_two_revisions_that_both_count_the_newest_is_named() -> None:
    stream = Stream()
    newer = Trigger("fast", 3, "Vehicle.Speed > 60 km/h")
    stream.add(CampaignRevision("a", 1, True, (FAST,)), CampaignRevision("a", 2, True, (newer,), 5 * 10**9))
    assert len(stream.plan.actives) == 2
    (campaign,) = report_of(stream, "d").campaigns
    assert (campaign.revision, dict(campaign.triggers)) == (2, {"fast": 3})

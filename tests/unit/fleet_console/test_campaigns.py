"""What the page of triggers says of campaigns, of what is in force, and of versions that are gone."""

from __future__ import annotations

from fleet_console.campaigns import triggers_view
from fleetloop.protos.campaign.v1 import campaign_pb2

NOW = 1_000_000 * 10**9


def trigger(name: str, version: int = 1, quota: int = 0) -> campaign_pb2.TriggerDefinition:
    return campaign_pb2.TriggerDefinition(name=name, version=version, quota_labels=quota, description="Hunts.")


def test_every_trigger_is_there_with_its_state_and_what_it_earned_and_past_versions_apart() -> None:
    running = campaign_pb2.Campaign(
        campaign="standing",
        revision=4,
        state=campaign_pb2.CAMPAIGN_STATE_RUNNING,
        triggers=[trigger("slow_car", 2, quota=50)],
        finished=[campaign_pb2.FinishedTrigger(trigger=trigger("had_enough"))],
        approved_by="user/ann",
        approved_at_utc_ns=NOW - 120 * 10**9,
        published_at_utc_ns=NOW - 60 * 10**9,
        changed_by="user/ben",
        reason="more of them",
    )
    draft = campaign_pb2.Campaign(
        campaign="idea", revision=1, state=campaign_pb2.CAMPAIGN_STATE_DRAFT, triggers=[trigger("idea")]
    )
    earnings = [
        campaign_pb2.TriggerEarnings(
            campaign="standing", trigger="slow_car", version=2, fired=9, clips=8, clip_bytes=2048, labelled=7, kept=6,
            dropped={"boring": 1},
        ),
        campaign_pb2.TriggerEarnings(campaign="standing", trigger="slow_car", version=1, fired=3),
    ]  # fmt: skip
    report = campaign_pb2.ReportInForceRequest(
        reporter="d",
        vehicles=24,
        campaigns=[campaign_pb2.CampaignInForce(campaign="standing", triggers={"slow_car": 2})],
        refused={"idea": "no such signal"},
    )
    view = triggers_view([running, draft], earnings, [campaign_pb2.ProcessInForce(report=report)], NOW)
    assert view.force == "One detector process evaluates 24 vehicles."
    assert [(row["trigger"], row["state"], row["force"]) for row in view.triggers] == [
        ("slow car v2", "running", "1 of 1"),
        ("idea v1", "draft", "refused: no such signal"),
        ("had enough v1", "ended", "0 of 1"),
    ]
    first = view.triggers[0]
    assert [first[name] for name in ("fired", "clips", "bytes", "labelled", "kept", "dropped")] == [
        "9", "8", "2 KiB", "7 of 50", "6", "1 boring",
    ]  # fmt: skip
    assert [(row["trigger"], row["fired"]) for row in view.past] == [("slow car v1", "3")]
    card = view.campaigns[0]
    assert (card.name, card.state) == ("standing", "running")
    assert card.note == ("revision 4, 1 min ago; approved by user/ann 2 min ago; changed by user/ben; more of them")


def test_without_a_report_it_says_so() -> None:
    assert "No detector has reported" in triggers_view([], [], [], NOW).force

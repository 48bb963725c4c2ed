"""What the commands print about campaigns: what is in force, and the outcome of firings."""

from __future__ import annotations

from fleetloop.api.campaigns import definition_yaml, read_triggers
from fleetloop.commands.trigger_screens import (
    campaign_tables,
    history_table,
    in_force_text,
    ledger_json,
    ledger_table,
)
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.shipped import config_folder
from fleetloop.triggerlang.definition import from_definition
from fleetloop.triggerlang.trigger import parse_trigger

TRIGGER = campaign_pb2.TriggerDefinition(name="fast", version=7)
CAMPAIGN = campaign_pb2.Campaign(campaign="c", revision=3, triggers=[TRIGGER])


def process(name: str, version: int, vehicles: int, refused: str = "") -> campaign_pb2.ProcessInForce:
    report = campaign_pb2.ReportInForceRequest(
        reporter=name,
        vehicles=vehicles,
        campaigns=[campaign_pb2.CampaignInForce(campaign="c", revision=3, triggers={"fast": version})],
        refused={"fast": refused} if refused else {},
    )
    if refused:
        report.campaigns[0].triggers.clear()
    return campaign_pb2.ProcessInForce(report=report)


def test_where_a_version_is_in_force_is_said_with_what_the_others_have() -> None:
    both = [process("d1", 7, 12), process("d2", 7, 12)]
    assert in_force_text(CAMPAIGN, TRIGGER, both) == (
        "in force: v7 on 2 of 2 detector processes, which evaluate 24 of 24 vehicles"
    )
    one = in_force_text(CAMPAIGN, TRIGGER, [process("d1", 7, 12), process("d2", 6, 11)])
    assert "v7 on 1 of 2 detector processes, which evaluate 12 of 23 vehicles; v6 on d2" in one
    assert "refused: no such signal" in in_force_text(CAMPAIGN, TRIGGER, [process("d1", 7, 1, "no such signal")])
    assert "unknown" in in_force_text(CAMPAIGN, TRIGGER, [])


def test_tables_have_what_runs_what_has_ended_and_why_the_rest_was_dropped() -> None:
    campaign = campaign_pb2.Campaign()
    campaign.CopyFrom(CAMPAIGN)
    campaign.finished.add(trigger=campaign_pb2.TriggerDefinition(name="slow", version=1))
    earned = campaign_pb2.TriggerEarnings(
        campaign="c", trigger="fast", version=7, fired=9, clip_bytes=2_500_000, dropped={"boring": 4, "no_route": 5}
    )
    (shown,) = campaign_tables([campaign], [earned], [process("d1", 7, 1)])
    assert list(shown.columns[0].cells) == ["fast v7", "slow v1"]
    assert list(shown.columns[1].cells) == ["1 of 1", "ended"]
    assert list(shown.columns[4].cells) == ["9", "0"]
    table = ledger_table([earned])
    assert list(table.columns[-1].cells) == ["5 no_route, 4 boring"]
    assert list(table.columns[3].cells) == ["2.5 MB"]
    assert ledger_json([earned])[0]["dropped"] == {"boring": 4, "no_route": 5}
    assert history_table([campaign]).row_count == 1


def test_a_definition_is_shown_as_a_file_that_means_the_same() -> None:
    for definition in read_triggers([config_folder() / "triggers", config_folder() / "triggers" / "library"]):
        assert parse_trigger(definition_yaml(definition)) == from_definition(definition)

"""A trigger is the same after the wire, whatever its fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.triggerlang.definition import from_definition, to_definition
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import Geofence, Trigger, parse_trigger

SHIPPED = sorted((Path(__file__).parents[4] / "config" / "triggers").glob("*.yaml"))
FULL = Trigger("a", 2, "x", "always", 1, 2, 3, ("c",), 4, 0.5, Geofence(1, 2, 3), ("v*",), 5, 6, 7, 8, "p", "t", "d",
               (("k", "e"),), ("s",))  # fmt: skip


@pytest.mark.parametrize("trigger", [FULL, *(parse_trigger(p.read_text()) for p in SHIPPED)], ids=lambda t: t.name)
def test_a_trigger_survives_the_wire(trigger: Trigger) -> None:
    wire = to_definition(trigger).SerializeToString()
    assert from_definition(campaign_pb2.TriggerDefinition.FromString(wire)) == trigger


@pytest.mark.parametrize("field", ["mode", "min_interval_s", "name", "version", "expression"])
def test_what_a_file_must_have_a_message_must_have(field: str) -> None:
    definition = to_definition(FULL)
    definition.ClearField(field)  # type: ignore[arg-type]
    with pytest.raises(TriggerFileError) as caught:
        from_definition(definition)
    assert caught.value.field == field


def test_a_share_above_everybody_is_refused() -> None:
    definition = to_definition(FULL)
    definition.sampling_fraction = 1.5
    with pytest.raises(TriggerFileError, match="sampling_fraction"):
        from_definition(definition)

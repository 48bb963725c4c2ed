"""Poison is never the same twice, the readers are those of the catalogue, and what it changes is what is refused."""

from __future__ import annotations

import random
import time

import pytest
import yaml
from tests.chaos.nemeses.registry import NEMESES, select
from tests.chaos.poison import POISON, READERS, VEHICLE, Poison
from tests.chaos.topics import mark_of

from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.validation import BatchError
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.shipped import config_folder, topic_catalogue
from telemetry_gateway.intake import Intake, Outage
from telemetry_gateway.model import Sender


def test_no_two_poisons_are_the_same_message() -> None:
    rng = random.Random(1)
    made = [each.make(rng, "fleet", time.time_ns()) for each in POISON for _ in range(3)]
    assert len({mark_of(each.key, each.value) for each in made}) == len(made)


def test_the_readers_are_those_of_the_topic_catalogue() -> None:
    catalogue = yaml.safe_load(topic_catalogue().read_text())["topics"]
    for topic, readers in READERS.items():
        assert readers == set(catalogue[topic]["readers"]), topic
        assert catalogue[topic]["dlq"], topic


@pytest.mark.parametrize(
    "poison", [each for each in POISON if each.rpc == "StreamTelemetry"], ids=lambda each: each.name
)
def test_a_batch_that_is_refused_at_the_door_breaks_a_rule(poison: Poison) -> None:
    clock = ManualClock()
    message = poison.make(random.Random(1), "fleet", clock.now_utc_ns())
    catalogue = load_catalogue(config_folder() / "signals.yaml")
    intake = Intake(None, catalogue, clock, Outage(), max_batch_bytes=520_192, spans_per_s=0)  # type: ignore[arg-type]
    batch = telemetry_pb2.TelemetryBatch.FromString(message.value)
    with pytest.raises(BatchError):
        intake.prepare(batch, Sender("fleet", VEHICLE), "stream")


def test_a_first_part_selects_all_its_nemeses_and_an_unknown_name_is_refused() -> None:
    assert select(["kill_service/label_desk"]) == ["kill_service/label_desk"]
    assert {name.split("/")[0] for name in select(["kill_service"])} == {"kill_service"}
    assert len(select(["kill_service"])) == 11
    assert select([]) == list(NEMESES)
    with pytest.raises(KeyError):
        select(["meteor"])

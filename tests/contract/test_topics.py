"""The catalogue, the constants in code and the protos name the same topics and messages."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from fleetloop.domain import topics as names
from fleetloop.kit.messaging.topics import DLQ_SUFFIX, Topic, load_topics
from fleetloop.kit.process.clock import SystemClock

CATALOGUE = load_topics(Path(__file__).parents[2] / "protos" / "topics.yaml")
CONSTANTS = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
EVENTS = [topic for topic in CATALOGUE.values() if topic.message.startswith("fleet.")]


def test_constants_are_the_catalogues_topics() -> None:
    assert {topic.name for topic in EVENTS} == CONSTANTS


def test_the_largest_messages_are_the_catalogues() -> None:
    assert {topic.name: topic.max_bytes for topic in EVENTS} == names.MAX_BYTES


@pytest.mark.parametrize("topic", EVENTS, ids=lambda topic: topic.name)
def test_the_message_of_a_topic_exists(topic: Topic) -> None:
    package, _, message = topic.message.rpartition(".")
    context = package.split(".")[1]
    modules = [importlib.import_module(f"fleetloop.protos.{context}.v1.{context}_pb2")]
    assert hasattr(modules[0], message)


def test_dead_letters_have_room_for_the_headers_that_say_why() -> None:
    for topic in EVENTS:
        dead = CATALOGUE.get(topic.name + DLQ_SUFFIX)
        if dead is not None:
            assert dead.max_bytes > topic.max_bytes


def read_through_an_inbox() -> dict[str, set[str]]:
    """Topics by the service that consumes them with an inbox."""
    curator, keeper, desk, orchestrator, rollout = (
        importlib.import_module(f"{package}.stream")
        for package in (
            "dataset_curator",
            "campaign_keeper",
            "label_desk",
            "training_orchestrator",
            "rollout_controller",
        )
    )
    clock = SystemClock()
    return {
        "dataset-curator": set(curator.effects(clock)),
        "campaign-keeper": set(keeper.effects(clock)),
        "label-desk": set(desk.EFFECTS),
        "training-orchestrator": set(orchestrator.EFFECTS),
        "rollout-controller": set(rollout.effects("demo", None, clock)),
    }


def test_who_consumes_a_topic_is_among_its_readers_and_has_a_dead_letter_queue() -> None:
    """Readers in the catalogue become rights in Kafka: one that is missing there is refused by a real broker."""
    for service, consumed in read_through_an_inbox().items():
        assert consumed <= {topic.name for topic in EVENTS if service in topic.readers}, service
        assert all(name + DLQ_SUFFIX in CATALOGUE for name in consumed), service

"""The catalogue as values: what the broker is told, and what a mistake is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.kit.messaging.topics import TopicCatalogueError, load_topics

ENTRY = "{key: vehicle, message: M, owner: gateway, readers: [router, keeper], partitions: 4, max_bytes: 1000"


def catalogue(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "topics.yaml"
    path.write_text(text)
    return path


def test_a_topic_with_dead_letters_makes_two(tmp_path: Path) -> None:
    topics = load_topics(catalogue(tmp_path, f"topics: {{fleet.x.v1: {ENTRY}, retention_h: 24, dlq: true}}}}"))
    assert set(topics) == {"fleet.x.v1", "fleet.x.v1.dlq"}
    topic, dead = topics["fleet.x.v1"], topics["fleet.x.v1.dlq"]
    assert topic.broker_config() == {
        "cleanup.policy": "delete",
        "retention.ms": str(24 * 3_600_000),
        "max.message.bytes": "1000",
        "message.timestamp.type": "CreateTime",
        "compression.type": "producer",
    }
    assert (dead.owner, dead.readers, dead.partitions) == ("router,keeper", ("people",), 1)
    assert dead.retention_h == 14 * 24
    assert dead.max_bytes > topic.max_bytes, "the headers that say why need room"


def test_a_topic_without_a_retention_is_kept_for_ever(tmp_path: Path) -> None:
    topics = load_topics(catalogue(tmp_path, f"topics: {{a: {ENTRY}, cleanup: compact}}}}\nchangelogs:"))
    assert topics["a"].broker_config()["retention.ms"] == "-1"
    assert topics["a"].broker_config()["cleanup.policy"] == "compact"


def test_a_changelog_is_read_by_its_owner_and_the_broker_may_stamp(tmp_path: Path) -> None:
    text = "changelogs: {c: {key: k, message: M, owner: monitor, partitions: 2, max_bytes: 5, timestamps: broker}}"
    topic = load_topics(catalogue(tmp_path, text))["c"]
    assert topic.readers == ("monitor",)
    assert topic.broker_config()["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize("field", ["key", "message", "owner", "partitions", "max_bytes"])
def test_a_missing_field_is_named_with_its_topic(tmp_path: Path, field: str) -> None:
    entry = {"key": "k", "message": "M", "owner": "o", "partitions": 1, "max_bytes": 5}
    del entry[field]
    with pytest.raises(TopicCatalogueError, match=f"^a: the field {field} is missing"):
        load_topics(catalogue(tmp_path, f"topics: {{a: {entry}}}"))


def test_a_number_that_is_none_is_named_with_its_topic(tmp_path: Path) -> None:
    with pytest.raises(TopicCatalogueError, match=r"^a: .*'many'.*; write a whole number"):
        load_topics(catalogue(tmp_path, f"topics: {{a: {ENTRY.replace('partitions: 4', 'partitions: many')}}}}}"))


def test_a_topic_is_signed_only_where_the_catalogue_says_so(tmp_path: Path) -> None:
    text = f"topics: {{a: {ENTRY}, signed: true}}, b: {ENTRY}, signed: false}}, c: {ENTRY}}}}}"
    topics = load_topics(catalogue(tmp_path, text))
    assert {name: topic.signed for name, topic in topics.items()} == {"a": True, "b": False, "c": False}
    with pytest.raises(TopicCatalogueError, match="a: signed: 'ture'; write true or false"):
        load_topics(catalogue(tmp_path, f"topics: {{a: {ENTRY}, signed: ture}}}}"))

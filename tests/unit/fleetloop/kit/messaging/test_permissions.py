from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.messaging.permissions import OPERATORS, PEOPLE, PRODUCERS, SUBSCRIBERS, load_quotas, rules
from fleetloop.kit.messaging.topics import DLQ_SUFFIX, Topic, TopicCatalogueError, load_topics
from fleetloop.shipped import topic_catalogue

SERVICES = ["alpha", "beta", "gamma"]
USERS = st.sampled_from([*SERVICES, *PEOPLE, "unknown"])


@st.composite
def catalogues(draw: st.DrawFn) -> dict[str, Topic]:
    topics = {}
    for number in range(draw(st.integers(1, 4))):
        name, readers = f"topic.{number}", tuple(draw(st.lists(USERS, unique=True, max_size=3)))
        owner = draw(USERS)
        topics[name] = Topic(name, "key", "Message", owner, readers, 1, 1, "delete", 1)
        if draw(st.booleans()):
            queue = name + DLQ_SUFFIX
            topics[queue] = Topic(queue, "key", "raw", ",".join(readers), ("people",), 1, 1, "delete", 1)
    return topics


@given(catalogues())
def test_a_user_writes_what_it_owns_and_reads_what_names_it_and_nothing_else(topics: dict[str, Topic]) -> None:
    granted = {
        (rule.user, rule.name, operation)
        for rule in rules(topics, SERVICES)
        if rule.kind == "topic" and rule.name != "*"
        for operation in rule.operations
        if operation != "Describe"
    }
    expected = set()
    for topic in topics.values():
        queue = topic.name + DLQ_SUFFIX
        if topic.name.endswith(DLQ_SUFFIX):
            expected |= {(reader, topic.name, "Write") for reader in topic.owner.split(",") if reader in SERVICES}
            expected |= {(OPERATORS, topic.name, "Read")}
            continue
        expected.add((topic.owner, topic.name, "Write"))
        expected |= {(reader, topic.name, "Read") for reader in topic.readers}
        if queue in topics:
            expected.add((OPERATORS, topic.name, "Write"))
    assert {each for each in granted if each[0] != OPERATORS or not each[1].endswith(DLQ_SUFFIX)} == {
        each
        for each in expected
        if each[0] != "unknown" and (each[0] != OPERATORS or not each[1].endswith(DLQ_SUFFIX))
    }


def test_no_rule_is_about_transactions_and_people_have_little() -> None:
    shipped = [*rules(load_topics(topic_catalogue()), SERVICES)]
    assert {rule.kind for rule in shipped} == {"topic", "group"}
    own = {user: [(r.kind, r.name, r.operations, r.prefixed) for r in shipped if r.user == user] for user in PEOPLE}
    assert own[PRODUCERS] == [("topic", "fleet.ingest.v1", ("Describe", "Write"), False)]
    assert own[SUBSCRIBERS] == [
        ("topic", "fleet.model.v1", ("Describe", "Read"), False),
        ("group", "subscribers", ("Describe", "Read"), True),
    ]


def test_the_shipped_quotas_limit_programs_outside() -> None:
    assert set(load_quotas(topic_catalogue())) == {PRODUCERS, SUBSCRIBERS}


@pytest.mark.parametrize("entry", ["{producer_byte_rate: 0}", "{bytes: 3}", "{request_percentage: many}"])
def test_a_wrong_quota_is_named(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(f"quotas:\n  producers: {entry}\n")
    with pytest.raises(TopicCatalogueError, match="quotas: producers: "):
        load_quotas(path)

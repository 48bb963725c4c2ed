"""Print the Kafka permissions of each component, derived from the topic catalogue: the least that it needs.

python scripts/kafka_users.py                                       one line per rule: user, resource, operations
python scripts/kafka_users.py --strimzi my-kafka --release fleet    KafkaUser objects, for `kubectl apply -f -`

A user has the name of its component, or `topics` for the chart's job that creates topics. Strimzi gives a user the
name of its object, <release>-<component>-kafka, and writes the password to a secret of the same name, where the chart
finds it with `kafka.usersByStrimzi=true`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.messaging.topics import DLQ_SUFFIX, Topic, load_topics
from fleetloop.shipped import topic_catalogue

TOPICS_JOB = "topics"
"""The user of the chart's job that creates topics."""


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """The operations that a user may perform on one resource."""

    user: str
    kind: str
    """The kind of resource: topic or group."""
    name: str
    """Name of the resource; "*" means all."""
    operations: tuple[str, ...]


def rules(topics: Mapping[str, Topic]) -> Iterator[Rule]:
    """Yield the rules of all users: a service's topics, their dead-letter queues, and the group of its own name."""
    names = {entry.label for entry in SERVICES}
    allowed: dict[tuple[str, str], set[str]] = {}
    for topic in topics.values():
        for writer in topic.owner.replace(" and ", ",").split(","):
            allowed.setdefault((writer.strip(), topic.name), set()).add("Write")
        if not topic.name.endswith(DLQ_SUFFIX):
            for reader in topic.readers:
                allowed.setdefault((reader, topic.name), set()).add("Read")
    for (user, name), operations in sorted(allowed.items()):
        if user in names:
            yield Rule(user, "topic", name, ("Describe", *sorted(operations)))
    for user in sorted({user for user, _ in allowed} & names):
        yield Rule(user, "group", user, ("Describe", "Read"))
    yield Rule(TOPICS_JOB, "topic", "*", ("Create", "Describe", "DescribeConfigs"))


def kafka_user(user: str, own: list[Rule], cluster: str, release: str, namespace: str) -> dict[str, Any]:
    """Return the KafkaUser object of one user for Strimzi."""
    acls = [
        {
            "resource": {"type": rule.kind, "name": rule.name, "patternType": "literal"},
            "operations": list(rule.operations),
        }
        for rule in own
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {
            "name": f"{release}-{user}-kafka",
            "namespace": namespace,
            "labels": {"strimzi.io/cluster": cluster},
        },
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--strimzi", default="", help="name of the Kafka cluster as Strimzi knows it")
    parser.add_argument("--release", default="fleet", help="name of the Helm release")
    parser.add_argument("--namespace", default="default", help="namespace of the Kafka cluster")
    said = parser.parse_args()
    by_user: dict[str, list[Rule]] = {}
    for rule in rules(load_topics(topic_catalogue())):
        by_user.setdefault(rule.user, []).append(rule)
    if said.strimzi:
        objects = [kafka_user(user, own, said.strimzi, said.release, said.namespace) for user, own in by_user.items()]
        yaml.safe_dump_all(objects, sys.stdout, sort_keys=False)
        return
    for own in by_user.values():
        for rule in own:
            print(rule.user, rule.kind, rule.name, ",".join(rule.operations))


if __name__ == "__main__":
    main()

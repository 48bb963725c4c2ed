"""Print the Kafka permissions of each component, derived from the topic catalogue: the least that it needs.

python scripts/kafka_users.py                                       one line per rule and per quota
python scripts/kafka_users.py --strimzi my-kafka --release fleet    KafkaUser objects, for `kubectl apply -f -`

A user has the name of its component, or is `producers`, `subscribers` or `operators` for people and programs outside
(docs/kubernetes.md), or `topics` for the chart's job that creates topics. Strimzi gives a user the
name of its object, <release>-<component>-kafka, and writes the password to a secret of the same name, where the chart
finds it with `kafka.usersByStrimzi=true`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.messaging.permissions import Rule, load_quotas, rules
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.shipped import topic_catalogue

_STRIMZI_QUOTAS = {
    "producer_byte_rate": "producerByteRate",
    "consumer_byte_rate": "consumerByteRate",
    "request_percentage": "requestPercentage",
}


def kafka_user(
    user: str, own: list[Rule], quotas: Mapping[str, float], cluster: str, release: str, namespace: str
) -> dict[str, Any]:
    """Return the KafkaUser object of one user for Strimzi."""
    limits = {_STRIMZI_QUOTAS[key]: int(value) for key, value in quotas.items()}
    acls = [
        {
            "resource": {
                "type": rule.kind,
                "name": rule.name,
                "patternType": "prefix" if rule.prefixed else "literal",
            },
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
            **({"quotas": limits} if limits else {}),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--strimzi", default="", help="name of the Kafka cluster as Strimzi knows it")
    parser.add_argument("--release", default="fleet", help="name of the Helm release")
    parser.add_argument("--namespace", default="default", help="namespace of the Kafka cluster")
    said = parser.parse_args()
    by_user: dict[str, list[Rule]] = {}
    quotas = load_quotas(topic_catalogue())
    for rule in rules(load_topics(topic_catalogue()), [entry.label for entry in SERVICES]):
        by_user.setdefault(rule.user, []).append(rule)
    if said.strimzi:
        objects = [
            kafka_user(user, own, quotas.get(user, {}), said.strimzi, said.release, said.namespace)
            for user, own in by_user.items()
        ]
        yaml.safe_dump_all(objects, sys.stdout, sort_keys=False)
        return
    for user, own in by_user.items():
        for rule in own:
            name = f"{rule.name}* (prefix)" if rule.prefixed else rule.name
            print(rule.user, rule.kind, name, ",".join(rule.operations))
        if user in quotas:
            print(user, "quota", ",".join(f"{key}={value:.0f}" for key, value in quotas[user].items()))


if __name__ == "__main__":
    main()

"""Who may do what in Kafka, derived from the topic catalogue: the least that each user needs. All else is denied.

The embedded run and `scripts/kafka_users.py` use the same rules. No one has a right on transactional ids, so no
producer can open a transaction and leave it open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from fleetloop.kit.messaging.topics import DLQ_SUFFIX, Topic, TopicCatalogueError

PRODUCERS = "producers"
"""The user of programs outside that send telemetry to Kafka."""
SUBSCRIBERS = "subscribers"
"""The user of programs outside that read model changes from Kafka. Their groups have names that begin with it."""
OPERATORS = "operators"
"""The user of people who handle messages that were set aside (`fleetloop dlq`)."""
CONSOLE = "fleet-console"
"""The console: on its page operators handle messages that were set aside, and it has their rights for that."""
TOPICS_JOB = "topics"
"""The user of the chart's job that creates topics."""
PEOPLE = (PRODUCERS, SUBSCRIBERS, OPERATORS)
"""Users that are no services."""
QUOTA_KEYS = ("producer_byte_rate", "consumer_byte_rate", "request_percentage")

Kind = Literal["topic", "group"]


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """The operations that a user may perform on one resource."""

    user: str
    kind: Kind
    name: str
    """Name of the resource; "*" means all."""
    operations: tuple[str, ...]
    prefixed: bool = False
    """Whether the rule is for all resources whose names begin with `name`."""


def rules(topics: Mapping[str, Topic], services: Iterable[str]) -> Iterator[Rule]:
    """Yield the rules of all users.

    A service has its topics, their dead-letter queues, and the group of its own name. Operators and the console read
    dead-letter queues, and write to the topics that have one, because a retry sends the message again.
    """
    names = {*services, *PEOPLE}
    allowed: dict[tuple[str, str], set[str]] = {}
    for topic in topics.values():
        is_queue = topic.name.endswith(DLQ_SUFFIX)
        for writer in topic.owner.replace(" and ", ",").split(","):
            allowed.setdefault((writer.strip(), topic.name), set()).add("Write")
        if not is_queue:
            for reader in topic.readers:
                allowed.setdefault((reader, topic.name), set()).add("Read")
            continue
        for handler in (OPERATORS, CONSOLE):
            allowed[handler, topic.name] = {"Read"}
            allowed.setdefault((handler, topic.name.removesuffix(DLQ_SUFFIX)), set()).add("Write")
    # Only services send to dead-letter queues: the readers that set a message aside include users outside.
    for user, name in list(allowed):
        if name.endswith(DLQ_SUFFIX) and user in (PRODUCERS, SUBSCRIBERS):
            del allowed[user, name]
    for (user, name), operations in sorted(allowed.items()):
        if user in names:
            yield Rule(user, "topic", name, ("Describe", *sorted(operations)))
    for user in sorted({user for user, _ in allowed} & names - {PRODUCERS, OPERATORS, CONSOLE}):
        yield Rule(user, "group", user, ("Describe", "Read"), prefixed=user == SUBSCRIBERS)
    yield Rule(TOPICS_JOB, "topic", "*", ("Create", "Describe", "DescribeConfigs"))


def load_quotas(path: Path) -> dict[str, dict[str, float]]:
    """The quotas of the topic catalogue by user. Raises TopicCatalogueError, which names the user and the quota."""
    quotas: dict[str, dict[str, float]] = {}
    for user, entry in (yaml.safe_load(path.read_text()).get("quotas") or {}).items():
        for key, value in entry.items():
            if key not in QUOTA_KEYS or not isinstance(value, int | float) or not value > 0:
                raise TopicCatalogueError(
                    f"quotas: {user}: {key}: {value}; write a positive number for one of {', '.join(QUOTA_KEYS)}"
                )
        quotas[str(user)] = {str(key): float(value) for key, value in entry.items()}
    return quotas

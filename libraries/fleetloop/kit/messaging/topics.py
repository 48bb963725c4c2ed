"""Reads the topic catalogue (protos/topics.yaml) and creates the topics that it lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

DLQ_SUFFIX = ".dlq"
_DLQ_RETENTION_H = 24 * 14
_DLQ_HEADROOM_BYTES = 65_536


class TopicCatalogueError(Exception):
    """The catalogue, or a topic of the broker, is wrong. The text names the topic and the remedy."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the catalogue."""

    name: str
    key: str
    message: str
    owner: str
    readers: tuple[str, ...]
    partitions: int
    retention_h: int
    """Hours that messages are kept; -1 means indefinitely."""
    cleanup: str
    max_bytes: int
    compression: str = "producer"
    """`compression.type` of the topic: "producer" keeps what was sent, "uncompressed" makes the broker unpack it and
    compare the unpacked size with `max_bytes`.
    """
    signed: bool = False
    """Whether the owner signs its events and readers verify them (`fleetloop.kit.messaging.signatures`)."""
    stamped_by_broker: bool = False
    """Whether the broker sets the timestamp when it appends a message; otherwise the producer sets it."""

    def broker_config(self) -> dict[str, str]:
        """The topic's configuration in Kafka's terms."""
        retention_ms = -1 if self.retention_h < 0 else self.retention_h * 3_600_000
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention_ms),
            "max.message.bytes": str(self.max_bytes),
            "compression.type": self.compression,
            "message.timestamp.type": "LogAppendTime" if self.stamped_by_broker else "CreateTime",
        }


def load_topics(path: Path) -> dict[str, Topic]:
    """All topics of the catalogue by name, including dead-letter queues and changelogs.

    Raises TopicCatalogueError, which names the topic and the field.
    """
    raw = yaml.safe_load(path.read_text())
    topics: dict[str, Topic] = {}
    for section in ("topics", "changelogs"):
        for name, entry in (raw.get(section) or {}).items():
            topic = _topic_of(name, entry)
            topics[name] = topic
            if entry.get("dlq"):
                topics[name + DLQ_SUFFIX] = _dead_letter_queue_of(topic)
    return topics


def _topic_of(name: str, entry: Mapping[str, object]) -> Topic:
    try:
        readers = entry.get("readers", [entry["owner"]])
        return Topic(
            name=name,
            key=str(entry["key"]),
            message=str(entry["message"]),
            owner=str(entry["owner"]),
            readers=tuple(str(reader) for reader in readers) if isinstance(readers, list) else (str(readers),),
            partitions=int(str(entry["partitions"])),
            retention_h=int(str(entry.get("retention_h", -1))),
            cleanup=str(entry.get("cleanup", "delete")),
            max_bytes=int(str(entry["max_bytes"])),
            compression=str(entry.get("compression", "producer")),
            signed=_flag(name, entry, "signed"),
            stamped_by_broker=entry.get("timestamps") == "broker",
        )
    except KeyError as error:
        raise TopicCatalogueError(f"{name}: the field {error.args[0]} is missing in the topic catalogue") from error
    except ValueError as error:
        raise TopicCatalogueError(f"{name}: {error}; write a whole number") from error


def _flag(name: str, entry: Mapping[str, object], field: str) -> bool:
    """A field that is true or false; a topic whose protection is misspelt must not be without it."""
    value = entry.get(field, False)
    if not isinstance(value, bool):
        raise TopicCatalogueError(f"{name}: {field}: {value!r}; write true or false")
    return value


def _dead_letter_queue_of(topic: Topic) -> Topic:
    return Topic(
        name=topic.name + DLQ_SUFFIX,
        key=topic.key,
        message="raw",
        owner=",".join(topic.readers),
        readers=("people",),
        partitions=1,
        retention_h=_DLQ_RETENTION_H,
        cleanup="delete",
        max_bytes=topic.max_bytes + _DLQ_HEADROOM_BYTES,
    )


async def create_topics(
    bootstrap_servers: str,
    topics: Mapping[str, Topic],
    replication: int = 1,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Creates missing topics and returns their names.

    Args:
        bootstrap_servers: Addresses of brokers, separated by commas.
        topics: The topics that have to exist.
        replication: Replicas of each new topic.
        options: Options of the client for authentication, as from `connection_options`.

    Raises TopicCatalogueError when a topic exists with another number of partitions. That number never changes in
    place, because keys would move to other partitions; a new version of the topic is the remedy.
    """
    admin = AIOKafkaAdminClient(**{**(options or {}), "bootstrap_servers": bootstrap_servers})
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        present = [name for name in topics if name in existing]
        for description in await admin.describe_topics(present) if present else []:
            expected = topics[description["topic"]].partitions
            found = len(description["partitions"])
            if found != expected:
                raise TopicCatalogueError(
                    f"{description['topic']} has {found} partitions but the catalogue says {expected}: "
                    "the number never changes in place; create a new version of the topic"
                )
        missing = [topic for name, topic in topics.items() if name not in existing]
        if missing:
            response = await admin.create_topics(
                [NewTopic(t.name, t.partitions, replication, topic_configs=t.broker_config()) for t in missing]
            )
            for name, code, *rest in response.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:  # another client created it first
                    raise TopicCatalogueError(f"{name}: the broker refused it: {error.__name__} {rest}")
        return [topic.name for topic in missing]
    finally:
        await admin.close()

"""The topic catalogue (protos/topics.yaml) as values, and the creation of what it lists."""

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
    """The catalogue, or a broker's topic, is not as it must be. The text names the topic and the remedy."""


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
    """-1: for ever."""
    cleanup: str
    max_bytes: int
    stamped_by_broker: bool = False
    """Timestamps are the broker's at append, not the producer's."""

    def broker_config(self) -> dict[str, str]:
        """What the broker is told."""
        retention_ms = -1 if self.retention_h < 0 else self.retention_h * 3_600_000
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention_ms),
            "max.message.bytes": str(self.max_bytes),
            "message.timestamp.type": "LogAppendTime" if self.stamped_by_broker else "CreateTime",
        }


def load_topics(path: Path) -> dict[str, Topic]:
    """All topics of the catalogue by name, dead-letter topics and changelogs included.

    Raises TopicCatalogueError that names the topic and the field.
    """
    raw = yaml.safe_load(path.read_text())
    topics: dict[str, Topic] = {}
    for section in ("topics", "changelogs"):
        for name, entry in (raw.get(section) or {}).items():
            topic = _topic_of(name, entry)
            topics[name] = topic
            if entry.get("dlq"):
                topics[name + DLQ_SUFFIX] = _dead_letters_of(topic)
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
            stamped_by_broker=entry.get("timestamps") == "broker",
        )
    except KeyError as error:
        raise TopicCatalogueError(f"{name}: the field {error.args[0]} is missing in the topic catalogue") from error
    except ValueError as error:
        raise TopicCatalogueError(f"{name}: {error}; a whole number is wanted") from error


def _dead_letters_of(topic: Topic) -> Topic:
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
    """Creates what is missing and returns the new names. `options` say how the client is known to the broker.

    Raises TopicCatalogueError when a topic exists with another number of partitions: that never changes in
    place, because keys would move; a new topic version is the way.
    """
    admin = AIOKafkaAdminClient(**{**(options or {}), "bootstrap_servers": bootstrap_servers})
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        present = [name for name in topics if name in existing]
        for description in await admin.describe_topics(present) if present else []:
            wanted = topics[description["topic"]].partitions
            found = len(description["partitions"])
            if found != wanted:
                raise TopicCatalogueError(
                    f"{description['topic']} has {found} partitions and the catalogue wants {wanted}: "
                    "partition counts never change in place, make a new version of the topic"
                )
        missing = [topic for name, topic in topics.items() if name not in existing]
        if missing:
            response = await admin.create_topics(
                [NewTopic(t.name, t.partitions, replication, topic_configs=t.broker_config()) for t in missing]
            )
            for name, code, *rest in response.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:  # somebody else was faster
                    raise TopicCatalogueError(f"{name}: the broker refused it: {error.__name__} {rest}")
        return [topic.name for topic in missing]
    finally:
        await admin.close()

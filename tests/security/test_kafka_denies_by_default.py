"""The broker of an embedded run: each user has the rights of the topic catalogue and no other.

A broker of its own per module, prepared as `fleetloop up` does.
"""

from __future__ import annotations

import asyncio
import os
import random
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from tests.kafka import bytes_per_second

from fleetloop.domain.topics import CLIP, DATASET, INGEST, MODEL, TELEMETRY
from fleetloop.embedded.broker.choose import find_broker
from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.embedded.prepare_broker import prepare
from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.messaging.granting import grant
from fleetloop.kit.messaging.permissions import PEOPLE, Rule, load_quotas, rules
from fleetloop.kit.messaging.producer import connection_options
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.shipped import topic_catalogue
from fleetloop.supervisor.supervisor import Supervisor

LABELS = [entry.label for entry in SERVICES]


@dataclass(frozen=True, slots=True)
class Secured:
    """A running broker and its users."""

    bootstrap_servers: str
    users: KafkaUsers
    folder: Path

    def settings(self, user: str, password: str | None = None) -> ServiceSettings:
        return ServiceSettings(
            kafka_bootstrap_servers=self.bootstrap_servers,
            kafka_username=user,
            kafka_password=self.users.password(user) if password is None else password,
            kafka_tls=False,
        )

    def node(self) -> dict[str, Any]:
        return self.users.node_options(self.bootstrap_servers)

    def producer(self, user: str, **more: object) -> AIOKafkaProducer:
        return AIOKafkaProducer(**connection_options(self.settings(user)), enable_idempotence=True, **more)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    users = KafkaUsers(folder / "passwords")
    users.create([*LABELS, *PEOPLE])
    environ = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    broker = find_broker(folder / "kafka", environ, random.Random(), users=users)
    if broker.spec is None or broker.users is None:
        pytest.skip("needs Java and Kafka's jars")
    with Supervisor([broker.spec], folder) as supervisor:
        supervisor.wait_ready(120.0)
        yield Secured(broker.bootstrap_servers, users, folder)


@pytest.fixture(scope="module")
def kafka(secured: Secured) -> Secured:
    asyncio.run(prepare(secured.bootstrap_servers, secured.users))
    return secured


async def test_every_service_writes_and_reads_what_the_catalogue_gives_it(kafka: Secured) -> None:
    for user, topic in (("producers", INGEST), ("telemetry-gateway", TELEMETRY), ("dataset-curator", DATASET)):
        async with kafka.producer(user) as producer:
            await producer.send_and_wait(topic, b"x")
    consumer = AIOKafkaConsumer(
        TELEMETRY,
        **connection_options(kafka.settings("telemetry-archiver")),
        group_id="telemetry-archiver",
        auto_offset_reset="earliest",
    )
    async with consumer:
        assert (await consumer.getone()).value == b"x"
        await consumer.commit()


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("label-desk", DATASET),
        ("training-orchestrator", MODEL),
        ("producers", TELEMETRY),
        ("producers", CLIP),
        ("subscribers", MODEL),
        ("telemetry-gateway", INGEST),
    ],
)
async def test_nobody_writes_a_topic_of_another(kafka: Secured, user: str, topic: str) -> None:
    options = connection_options(kafka.settings(user))
    async with AIOKafkaProducer(**options) as producer:  # an idempotent one needs the right to write somewhere
        with pytest.raises(TopicAuthorizationFailedError):
            await asyncio.wait_for(producer.send_and_wait(topic, b"forged"), 20)


@pytest.mark.parametrize(
    ("user", "topic"),
    [("producers", INGEST), ("producers", TELEMETRY), ("subscribers", DATASET), ("label-desk", CLIP)],
)
async def test_nobody_reads_a_topic_that_is_not_for_it(kafka: Secured, user: str, topic: str) -> None:
    node = kafka.node()
    async with AIOKafkaProducer(**node) as producer:
        await producer.send_and_wait(topic, b"secret", partition=0)
    assert await _first(node, topic)
    assert await _first(connection_options(kafka.settings(user)), topic) is None


async def _first(options: dict[str, Any], topic: str) -> bytes | None:
    """The first message of a topic; None when the broker gives none within 3 s."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(**options) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        try:
            return bytes((await asyncio.wait_for(consumer.getone(), 3)).value)
        except (TopicAuthorizationFailedError, TimeoutError):
            return None


async def test_nobody_joins_the_group_of_another(kafka: Secured) -> None:
    options = connection_options(kafka.settings("trigger-detector"))
    consumer = AIOKafkaConsumer(TELEMETRY, **options, group_id="telemetry-archiver")
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            await asyncio.wait_for(consumer.start(), 20)
            await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()


@pytest.mark.parametrize("user", ["producers", "telemetry-gateway", "operators"])
async def test_nobody_opens_a_transaction(kafka: Secured, user: str) -> None:
    producer = kafka.producer(user, transactional_id="held-open")
    with pytest.raises(TransactionalIdAuthorizationFailed):
        await asyncio.wait_for(producer.start(), 20)
    await producer.stop()


async def test_wrong_and_missing_passwords_and_unknown_users_are_refused(kafka: Secured) -> None:
    for settings in (
        kafka.settings("label-desk", "wrong"),
        kafka.settings("label-desk", kafka.users.password("producers")),
        kafka.settings("unknown", "x"),
        ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers),
    ):
        producer = AIOKafkaProducer(**connection_options(settings), request_timeout_ms=3000)
        with pytest.raises(KafkaError):
            await asyncio.wait_for(producer.start(), 20)
        await producer.stop()


async def test_rights_that_the_catalogue_no_longer_gives_are_withdrawn_at_the_next_start(kafka: Secured) -> None:
    topics = load_topics(topic_catalogue())
    catalogue = [*rules(topics, LABELS)]
    extra = Rule("label-desk", "topic", MODEL, ("Describe", "Write"))
    quotas = load_quotas(topic_catalogue())
    await grant(kafka.node(), kafka.users.passwords(), [*catalogue, extra], quotas)
    async with kafka.producer("label-desk") as producer:
        await producer.send_and_wait(MODEL, b"x")
    await grant(kafka.node(), kafka.users.passwords(), catalogue, quotas)
    async with kafka.producer("label-desk") as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await asyncio.wait_for(producer.send_and_wait(MODEL, b"x"), 20)


async def test_a_producer_above_its_quota_is_slowed_down_and_others_are_not(kafka: Secured) -> None:
    catalogue = [*rules(load_topics(topic_catalogue()), LABELS)]
    await grant(kafka.node(), kafka.users.passwords(), catalogue, {"producers": {"producer_byte_rate": 200_000}})
    try:
        slow = await bytes_per_second(kafka.producer("producers"), INGEST)
        fast = await bytes_per_second(kafka.producer("telemetry-gateway"), TELEMETRY)
    finally:
        await prepare(kafka.bootstrap_servers, kafka.users)
    assert slow < 600_000  # Kafka averages over 10 s, so that the first 2 MB pass at once
    assert fast > 2 * slow


async def test_granting_again_changes_nothing_and_takes_little_time(kafka: Secured) -> None:
    began = time.monotonic()
    await prepare(kafka.bootstrap_servers, kafka.users)
    assert time.monotonic() - began < 10


def test_passwords_are_readable_only_by_their_owner_and_on_no_command_line(kafka: Secured) -> None:
    files = [*(kafka.folder / "passwords").iterdir(), kafka.folder / "kafka" / "server.properties"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    secrets = {file.read_text().encode() for file in files[:-1]}
    assert len(secrets) == len(LABELS) + len(PEOPLE) + 1
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = process.read_bytes()
        except OSError:
            continue
        assert not any(secret in said for secret in secrets)

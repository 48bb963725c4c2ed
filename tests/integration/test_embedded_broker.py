"""The embedded Kafka: it carries messages, keeps them over a restart, and leaves no process behind."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from fleetloop.embedded.broker import find_broker, running_broker
from fleetloop.embedded.broker.choose import ADDRESS_VARIABLE
from fleetloop.embedded.broker.docker import find_docker
from fleetloop.embedded.broker.jars import find_java
from fleetloop.embedded.broker.probe import kafka_answers
from fleetloop.errors import UserError
from fleetloop.kit.messaging.topics import TopicCatalogueError, create_topics, load_topics
from fleetloop.supervisor import Supervisor
from fleetloop.supervisor.processes import is_running
from fleetloop.supervisor.state import read_state


async def _send(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _read_all(bootstrap: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        while len(values) < end:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value for record in records]
        return values
    finally:
        await consumer.stop()


async def test_what_was_acknowledged_is_there_after_a_restart_on_other_ports(tmp_path: Path) -> None:
    tmp_path = tmp_path / "a run's folder"
    with running_broker(tmp_path, environ=_without_address()) as first:
        admin = AIOKafkaAdminClient(bootstrap_servers=first)
        await admin.start()
        await admin.create_topics([NewTopic("kept", 1, 1)])
        await admin.close()
        await _send(first, "kept", b"one")
        state = read_state(tmp_path / "run.json")
        assert state is not None
        broker = state.services[0].process
        assert broker is not None
        assert is_running(broker)
    assert not is_running(broker)
    assert not kafka_answers(first)(0.5)

    (tmp_path / "kafka" / "ports.json").unlink()
    with running_broker(tmp_path, environ=_without_address()) as second:
        assert second != first
        await _send(second, "kept", b"two")
        assert await _read_all(second, "kept") == [b"one", b"two"]


async def test_the_catalogue_is_created_once_and_a_changed_partition_count_is_refused(kafka_bootstrap: str) -> None:
    topics = load_topics(Path(__file__).parents[2] / "protos" / "topics.yaml")
    topics = {f"once.{name}": dataclasses.replace(each, name=f"once.{name}") for name, each in topics.items()}
    assert set(await create_topics(kafka_bootstrap, topics)) == set(topics)
    assert await create_topics(kafka_bootstrap, topics) == []
    name = "once.fleet.telemetry.v1"
    topics[name] = dataclasses.replace(topics[name], partitions=5)
    with pytest.raises(TopicCatalogueError, match=f"{name} has 4 partitions but the catalogue says 5"):
        await create_topics(kafka_bootstrap, topics)


async def test_a_broker_that_is_killed_is_back_at_its_address_with_what_it_had_acknowledged(tmp_path: Path) -> None:
    broker = find_broker(tmp_path / "kafka", _without_address(), random.Random())
    assert broker.spec is not None
    with Supervisor([broker.spec], tmp_path) as supervisor:
        supervisor.wait_ready(60)
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic("kept", 1, 1)])
        await admin.close()
        values = [b"%d" % number for number in range(5)]
        for value in values[:3]:
            await _send(broker.bootstrap_servers, "kept", value)
        killed = supervisor.kill(broker.spec.name)
        await asyncio.to_thread(_wait_for_another_process, supervisor, killed)
        supervisor.wait_ready(60)
        for value in values[3:]:
            await _send(broker.bootstrap_servers, "kept", value)
        assert await _read_all(broker.bootstrap_servers, "kept") == values


def _wait_for_another_process(supervisor: Supervisor, killed: int) -> None:
    while (process := supervisor.status()[0].process) is None or process.pid == killed:
        time.sleep(0.05)


def test_a_broker_named_in_the_environment_is_used_as_it_is(kafka_bootstrap: str, tmp_path: Path) -> None:
    broker = find_broker(tmp_path, {ADDRESS_VARIABLE: kafka_bootstrap}, random.Random(1))
    assert broker.bootstrap_servers == kafka_bootstrap
    assert broker.spec is None


def test_a_named_broker_that_does_not_answer_is_named_back(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No Kafka answers at 127\.0\.0\.1:1\b"):
        find_broker(tmp_path, {ADDRESS_VARIABLE: "127.0.0.1:1"}, random.Random(1))


def _without_address() -> dict[str, str]:
    """An environment in which the broker is ours to stop and to kill."""
    environ = {key: value for key, value in os.environ.items() if key != ADDRESS_VARIABLE}
    if ADDRESS_VARIABLE in os.environ and find_java(environ) is None and find_docker(environ) is None:
        pytest.skip(f"only the broker of {ADDRESS_VARIABLE} is here, and it is not ours to stop")
    return environ

"""Which Kafka is chosen, and what is said when there is none. (The rungs themselves: tests/integration.)"""

from __future__ import annotations

import random
import socket
import threading
from pathlib import Path

import pytest

from fleetloop.embedded.broker.choose import find_broker
from fleetloop.embedded.broker.docker import IMAGE, KafkaContainer
from fleetloop.embedded.broker.probe import kafka_answers
from fleetloop.errors import UserError


def test_without_java_docker_or_an_address_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        find_broker(tmp_path, {"PATH": "/nowhere", "FLEETLOOP_CACHE_DIR": str(tmp_path)}, random.Random(1))
    assert caught.value.message == (
        "No Kafka is available: Java 17 or newer is missing, no Docker engine answers, "
        "and KAFKA_BOOTSTRAP_SERVERS is not set."
    )
    assert "apt-get install openjdk-17-jre-headless maven" in caught.value.remedy


def test_an_open_port_that_is_no_kafka_is_told_from_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert kafka_answers(f"127.0.0.1:{port}")(2.0) is False
    assert kafka_answers(f"127.0.0.1:{port}")(0.2) is False
    assert kafka_answers("nonsense")(0.2) is False


def test_a_container_listens_on_this_machine_only_and_is_removed_by_its_name() -> None:
    container = KafkaContainer("/usr/bin/docker", "fleetloop-kafka-1f", 21234)
    command = " ".join(container.command())
    assert "--publish 127.0.0.1:21234:21234" in command
    assert "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:21234" in command
    assert command.endswith(IMAGE)
    assert container.removal() == ("/usr/bin/docker", "rm", "--force", "fleetloop-kafka-1f")

"""Kafka from its own image, for machines with Docker and without Java.

It follows the image's documented environment variables. It has never been run: no Docker engine was available. The
other two ways to a broker are tested with every change.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from fleetloop.embedded.broker.jars import KAFKA_VERSION

IMAGE = f"apache/kafka:{KAFKA_VERSION}"


def find_docker(environ: Mapping[str, str]) -> str | None:
    """Return the path of a `docker` whose engine answers, or None."""
    docker = shutil.which("docker", path=environ.get("PATH"))
    if docker is None:
        return None
    try:
        asked = subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return docker if asked.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class KafkaContainer:
    """A Kafka container. Its data are in a volume of the same name, which outlives the container."""

    docker: str
    name: str
    port: int

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> tuple[str, ...]:
        """Return the command that removes a container left by a crash, then runs a new one in the foreground.

        In the foreground, signals and the log pass through.
        """
        run = [self.docker, "run", "--rm", "--init", "--name", self.name]
        run += ["--publish", f"127.0.0.1:{self.port}:{self.port}", "--volume", f"{self.name}:/var/lib/kafka/data"]
        for key, value in self._settings().items():
            run += ["--env", f"{key}={value}"]
        script = '"$1" rm --force "$2" >/dev/null 2>&1; shift 2; exec "$@"'
        return ("/bin/sh", "-c", script, "sh", self.docker, self.name, *run, IMAGE)

    def removal(self) -> tuple[str, ...]:
        """Return the command that removes the container."""
        return (self.docker, "rm", "--force", self.name)

    def _settings(self) -> dict[str, str]:
        return {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:29093",
            "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{self.port},CONTROLLER://127.0.0.1:29093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{self.port}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_HEAP_OPTS": "-Xmx512m",
        }

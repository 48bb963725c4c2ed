"""Choose a Kafka broker: the one that the environment names, otherwise Kafka's jars with Java, otherwise Docker."""

from __future__ import annotations

import random
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetloop.embedded.broker.docker import KafkaContainer, find_docker
from fleetloop.embedded.broker.jars import LEAST_JAVA, cached_jars, ensure_jars, find_java
from fleetloop.embedded.broker.node import BENCH_JVM, NODE_USER, QUICK_JVM, KafkaNode
from fleetloop.embedded.broker.probe import kafka_answers
from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.embedded.tcp_ports import remembered_ports
from fleetloop.errors import UserError
from fleetloop.supervisor.spec import ServiceSpec

ADDRESS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
SERVICE = "kafka"


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, and how to run it."""

    bootstrap_servers: str
    spec: ServiceSpec | None
    """How to run it; None for a broker that runs already."""
    origin: str
    """Explanation for people: where this broker comes from."""
    users: KafkaUsers | None = None
    """Its users; None for a broker that does not authenticate, or whose users are not ours."""


def find_broker(
    folder: Path,
    environ: Mapping[str, str],
    rng: random.Random,
    *,
    bench: bool = False,
    users: KafkaUsers | None = None,
) -> Broker:
    """Choose a broker and prepare its storage.

    Args:
        folder: Where an embedded broker stores its files.
        environ: Environment variables; KAFKA_BOOTSTRAP_SERVERS names a broker that runs already.
        rng: Source of new ports.
        bench: Tune the JVM for throughput instead of a quick start.
        users: Where a broker that is started from jars has its users. Without them it does not authenticate.

    Raises UserError if the named broker does not answer, or if there is neither Java with Maven nor Docker.
    """
    named = environ.get(ADDRESS_VARIABLE, "").strip()
    if named:
        if not kafka_answers(named)(5.0):
            raise UserError(
                f"No Kafka answers at {named}, which {ADDRESS_VARIABLE} names.",
                f"Start it, correct the address, or unset {ADDRESS_VARIABLE} for an embedded one.",
            )
        return Broker(named, None, f"{ADDRESS_VARIABLE}={named}")
    java = find_java(environ)
    if java is not None and (cached_jars(environ) is not None or shutil.which("mvn", path=environ.get("PATH"))):
        return _from_jars(folder, environ, rng, java, bench, users)
    docker = find_docker(environ)
    if docker is not None:
        return _from_image(folder, rng, docker)
    missing = "Maven (mvn)" if java is not None else f"Java {LEAST_JAVA} or newer"
    raise UserError(
        f"No Kafka is available: {missing} is missing, no Docker engine answers, and {ADDRESS_VARIABLE} is not set.",
        f"Install Java {LEAST_JAVA}+ and Maven (Debian: apt-get install openjdk-17-jre-headless maven), "
        f"or start Docker, or set {ADDRESS_VARIABLE} to a broker's host:port.",
    )


def _from_jars(
    folder: Path, environ: Mapping[str, str], rng: random.Random, java: Path, bench: bool, users: KafkaUsers | None
) -> Broker:
    ports = remembered_ports(folder / "ports.json", ("broker", "controller"), rng)
    jvm = BENCH_JVM if bench else QUICK_JVM
    password = users.password(NODE_USER) if users is not None else ""
    node = KafkaNode(folder, java, ensure_jars(environ), ports["broker"], ports["controller"], jvm, password)
    node.prepare()
    probe = kafka_answers(node.bootstrap_servers)
    spec = ServiceSpec(SERVICE, node.command(), ready=probe, live=probe, ports={"kafka": node.port}, grace_s=20.0)
    return Broker(node.bootstrap_servers, spec, f"Kafka from {node.jars} on {java}", users)


def _from_image(folder: Path, rng: random.Random, docker: str) -> Broker:
    name_file = folder / "container"
    folder.mkdir(parents=True, exist_ok=True)
    if not name_file.exists():
        name_file.write_text(f"fleetloop-kafka-{secrets.token_hex(6)}")
    ports = remembered_ports(folder / "ports.json", ("broker",), rng)
    container = KafkaContainer(docker, name_file.read_text(), ports["broker"])
    probe = kafka_answers(container.bootstrap_servers)
    spec = ServiceSpec(
        SERVICE,
        container.command(),
        ready=probe,
        live=probe,
        ports={"kafka": container.port},
        grace_s=20.0,
        ready_within_s=600.0,  # the image may have to be fetched
        after_stop=container.removal(),
    )
    return Broker(container.bootstrap_servers, spec, f"Kafka's image under {docker}")

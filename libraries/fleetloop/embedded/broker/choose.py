"""Which Kafka to use: one that the environment names, else Java with Kafka's jars, else Docker."""

from __future__ import annotations

import random
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetloop.embedded.broker.docker import KafkaContainer, find_docker
from fleetloop.embedded.broker.jars import LEAST_JAVA, cached_jars, ensure_jars, find_java
from fleetloop.embedded.broker.node import BENCH_JVM, QUICK_JVM, KafkaNode
from fleetloop.embedded.broker.probe import kafka_answers
from fleetloop.embedded.tcp_ports import remembered_ports
from fleetloop.errors import UserError
from fleetloop.supervisor.spec import ServiceSpec

ADDRESS_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
SERVICE = "kafka"


@dataclass(frozen=True, slots=True)
class Broker:
    bootstrap_servers: str
    spec: ServiceSpec | None
    """How to run it; None for one that somebody else runs."""
    origin: str
    """For people: where this broker comes from."""


def find_broker(folder: Path, environ: Mapping[str, str], chance: random.Random, *, bench: bool = False) -> Broker:
    """The broker to use, with its storage prepared below `folder`. `bench` leaves the JVM's JIT alone.

    UserError with one sentence when none of the three ways is open, or a named broker does not answer.
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
        return _from_jars(folder, environ, chance, java, bench)
    docker = find_docker(environ)
    if docker is not None:
        return _from_image(folder, chance, docker)
    missing = "Maven (mvn)" if java is not None else f"Java {LEAST_JAVA} or newer"
    raise UserError(
        f"There is no Kafka to be had: {missing} is missing, no Docker engine answers, "
        f"and {ADDRESS_VARIABLE} is not set.",
        f"Install Java {LEAST_JAVA}+ and Maven (Debian: apt-get install openjdk-17-jre-headless maven), "
        f"or start Docker, or set {ADDRESS_VARIABLE} to a broker's host:port.",
    )


def _from_jars(folder: Path, environ: Mapping[str, str], chance: random.Random, java: Path, bench: bool) -> Broker:
    ports = remembered_ports(folder / "ports.json", ("broker", "controller"), chance)
    node = KafkaNode(
        folder, java, ensure_jars(environ), ports["broker"], ports["controller"], BENCH_JVM if bench else QUICK_JVM
    )
    node.prepare()
    probe = kafka_answers(node.bootstrap_servers)
    spec = ServiceSpec(SERVICE, node.command(), ready=probe, live=probe, ports={"kafka": node.port}, grace_s=20.0)
    return Broker(node.bootstrap_servers, spec, f"Kafka from {node.jars} on {java}")


def _from_image(folder: Path, chance: random.Random, docker: str) -> Broker:
    name_file = folder / "container"
    folder.mkdir(parents=True, exist_ok=True)
    if not name_file.exists():
        name_file.write_text(f"fleetloop-kafka-{secrets.token_hex(6)}")
    ports = remembered_ports(folder / "ports.json", ("broker",), chance)
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

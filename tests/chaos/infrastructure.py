"""What the services need and a chaos run wants to hurt: a broker with a link per service, and a private Postgres."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psycopg
from tests.chaos.access import LABELS, Access
from tests.databases import program, server_user

from fleetloop.embedded.broker.jars import ensure_jars, find_java
from fleetloop.embedded.broker.node import QUICK_JVM, KafkaNode
from fleetloop.embedded.broker.probe import kafka_answers
from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.embedded.tcp_ports import free_ports
from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.supervisor import Supervisor
from fleetloop.supervisor.probes import port_open
from fleetloop.supervisor.spec import ServiceSpec

BROKER, POSTGRES, LINKS = "kafka", "postgres", "links"
_RIGHTS = "rights"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Without synchronous_commit a SIGKILL of the server loses transactions that it has acknowledged.
_POSTGRES_OPTIONS = ("fsync=off", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=32MB")


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """The running broker, links and Postgres."""

    supervisor: Supervisor
    bootstrap_servers: str
    """The broker without a link in between and without logins, for the senders and the oracle."""
    access: Access
    link_ports: dict[str, int]
    """Service -> the port at which it finds the broker."""
    databases: dict[str, str]
    """Service -> URL of its database in Postgres; a service that is not named uses SQLite."""
    control: Path

    def slow_down(self, limits: dict[str, dict[str, float]]) -> None:
        """Set the limits of links, as `tests.chaos.links` describes them. An empty mapping removes all."""
        replace_text(self.control, json.dumps(limits))


def postgres_is_installed() -> bool:
    """Whether Postgres' programs are on this machine."""
    return program("initdb") is not None and program("postgres") is not None


@contextmanager
def running_infrastructure(
    folder: Path, services: Sequence[str], on_postgres: Sequence[str]
) -> Iterator[Infrastructure]:
    """Run broker, links and, if any service is named for it, Postgres, while a block lasts.

    Raises UserError if Java, Kafka's jars, or Postgres are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    broker_port, controller_port, *others = free_ports(2 + 2 * len(services), Random())
    link_ports = dict(zip(services, others[: len(services)], strict=True))
    listener_ports = dict(zip(services, others[len(services) :], strict=True))
    node = _prepare_node(folder / "kafka", broker_port, controller_port, link_ports, listener_ports)
    control = folder / "links.json"
    control.write_text("{}")
    routes = folder / "routes.json"
    routes.write_text(json.dumps({name: [link_ports[name], listener_ports[name]] for name in services}))
    access = Access(node.bootstrap_servers, KafkaUsers(folder / "kafka-users"))
    access.users.create(LABELS.values())
    probe = kafka_answers(node.bootstrap_servers)
    python_path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    specs = [
        ServiceSpec(BROKER, node.command(), ready=probe, live=probe, ports={"kafka": broker_port}, grace_s=20.0),
        ServiceSpec(
            LINKS,
            (sys.executable, "-m", "tests.chaos.links", str(routes), str(control)),
            ready=port_open(f"127.0.0.1:{next(iter(link_ports.values()))}"),
            env=python_path,
        ),
        ServiceSpec(
            _RIGHTS,
            (sys.executable, "-m", "tests.chaos.access", node.bootstrap_servers, str(access.users.folder)),
            needs=(BROKER,),
            task=True,
            env=python_path,
        ),
    ]
    # Unix sockets have short names, so the server's folder must not be deep.
    with tempfile.TemporaryDirectory(prefix="chaos-pg-", ignore_cleanup_errors=True) as name:
        if on_postgres:
            specs.append(_prepare_postgres(Path(name)))
        with Supervisor(specs, folder) as supervisor:
            supervisor.wait_ready(120.0)
            databases = _create_databases(Path(name), on_postgres) if on_postgres else {}
            yield Infrastructure(supervisor, node.bootstrap_servers, access, link_ports, databases, control)


def _prepare_node(
    folder: Path, port: int, controller_port: int, link_ports: dict[str, int], listener_ports: dict[str, int]
) -> KafkaNode:
    """A node with a listener per service, which asks for a login and tells its clients the address of their link.

    A client of the node's own listener needs no login, and may do everything.
    """
    java = find_java(os.environ)
    if java is None:
        raise UserError("The chaos tests need Java 17 or newer.", "Debian: apt-get install openjdk-17-jre-headless")
    node = KafkaNode(folder, java, ensure_jars(os.environ), port, controller_port, QUICK_JVM)
    node.prepare()
    own = [(f"L{number}", service) for number, service in enumerate(link_ports)]
    listen = [f"{name}://127.0.0.1:{listener_ports[service]}" for name, service in own]
    advertise = [f"{name}://127.0.0.1:{link_ports[service]}" for name, service in own]
    plain = f"PLAINTEXT://127.0.0.1:{port}"
    properties = {
        "listeners": ",".join([plain, f"CONTROLLER://127.0.0.1:{controller_port}", *listen]),
        "advertised.listeners": ",".join([plain, *advertise]),
        "listener.security.protocol.map": ",".join(
            ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *(f"{name}:SASL_PLAINTEXT" for name, _ in own)]
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        **{f"listener.name.{name.lower()}.scram-sha-512.sasl.jaas.config": _SCRAM for name, _ in own},
        "inter.broker.listener.name": "PLAINTEXT",
        "num.network.threads": "1",
    }
    with (folder / "server.properties").open("a") as file:  # of two lines with one key, the last counts
        file.writelines(f"{key}={value}\n" for key, value in properties.items())
    return node


def _prepare_postgres(folder: Path) -> ServiceSpec:
    initdb, server = program("initdb"), program("postgres")
    if initdb is None or server is None:
        raise UserError("Postgres' programs are not installed.", "Debian: apt-get install postgresql")
    user = server_user()
    as_user: list[str] = []
    if user is not None:  # the server refuses root
        entry = pwd.getpwnam(user)
        shutil.chown(folder, user)
        as_user = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    data = folder / "data"
    done = subprocess.run(
        [*as_user, initdb, "-D", str(data), "-U", "chaos", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        raise UserError(f"initdb failed: {done.stdout}{done.stderr}", "See Postgres' message.")
    options = [part for option in _POSTGRES_OPTIONS for part in ("-c", option)]
    command = [*as_user, server, "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", *options]

    def answers(timeout_s: float) -> bool:
        try:
            with psycopg.connect(_dsn(folder), connect_timeout=max(1, int(timeout_s))):
                return True
        except psycopg.Error:
            return False

    return ServiceSpec(POSTGRES, tuple(command), ready=answers, live=answers, cwd=folder)


def _dsn(folder: Path) -> str:
    return f"host={folder} user=chaos dbname=postgres"


def _create_databases(folder: Path, services: Sequence[str]) -> dict[str, str]:
    with psycopg.connect(_dsn(folder), autocommit=True) as connection:
        for service in services:
            connection.execute(f'create database "{service}"'.encode())
    return {service: f"postgresql+psycopg://chaos@/{service}?host={folder}" for service in services}

"""Prepare an embedded run: broker, certificate authority, ports, and the environment of each service."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetloop.domain.access import load_access
from fleetloop.embedded.broker.choose import Broker, find_broker
from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.embedded.ceremony import Trust, hold_ceremony
from fleetloop.embedded.event_keys import create_event_keys
from fleetloop.embedded.service_table import SERVICES, Entry
from fleetloop.embedded.tcp_ports import remembered_ports
from fleetloop.embedded.trust_renewal import complete_renewal
from fleetloop.errors import UserError
from fleetloop.kit.messaging.permissions import PEOPLE
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.process.settings import SettingsError
from fleetloop.kit.security.access import AccessPolicy
from fleetloop.kit.security.admission import AdmissionList, admit
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import CertificateAuthority, Credentials
from fleetloop.layout import LOCAL_USER, RunLayout
from fleetloop.shipped import config_folder, topic_catalogue
from fleetloop.supervisor.probes import http_ok
from fleetloop.supervisor.spec import ServiceSpec

TOPICS = "topics"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class RunSpecs:
    """The arguments of `Supervisor(run_specs.specs, layout.root, info=run_specs.info)`."""

    specs: tuple[ServiceSpec, ...]
    info: Mapping[str, str]
    """`fleet_id`, `user`, `config_dir`, `kafka_bootstrap_servers`, and `<package>_grpc`, `<package>_http` (host:port)
    of every service; `kafka_users`, a folder, if the broker's users are ours.
    """
    broker: Broker


def build_run_specs(
    layout: RunLayout,
    *,
    now: datetime,
    rng: random.Random,
    services: Sequence[str] | None = None,
    fleet_id: str = "demo",
    config_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    more_env: Mapping[str, Mapping[str, str]] | None = None,
    bench: bool = False,
) -> RunSpecs:
    """Prepare storage, certificates and ports below `layout.root`, and describe the processes to run.

    Args:
        layout: The run's folder.
        now: The current time, for certificates.
        rng: Source of new ports.
        services: Packages to start; all by default. An empty list starts only Kafka and creates its topics.
        fleet_id: Part of every identity.
        config_dir: Folder with the configuration; the shipped one by default.
        environ: Environment variables that select the broker; this process's by default.
        more_env: Variables to add, by package.
        bench: Tune Kafka's JVM for throughput instead of a quick start.

    Raises UserError for unknown or missing services, and for missing prerequisites.
    """
    entries = chosen(services)
    config = (config_dir or config_folder()).resolve()
    credentials = _enrol(layout, fleet_id, _policy(config), entries, now)
    complete_renewal(layout.signing)
    trust = hold_ceremony(layout.signing, now)
    event_keys = create_event_keys(layout.event_keys, load_topics(topic_catalogue()))
    users = KafkaUsers(layout.kafka_users)
    users.create([*(each.label for each in SERVICES), *PEOPLE])
    broker = find_broker(layout.kafka, os.environ if environ is None else environ, rng, bench=bench, users=users)
    ports = _ports(layout, rng)
    info = {"fleet_id": fleet_id, "kafka_bootstrap_servers": broker.bootstrap_servers, "broker": broker.origin}
    info.update(user=LOCAL_USER, config_dir=str(config))
    if broker.users is not None:
        info["kafka_users"] = str(broker.users.folder)
    for each in entries:
        for name in ("grpc", "http", *each.more_ports):
            info[f"{each.package}_{name}"] = f"127.0.0.1:{ports[f'{each.package}.{name}']}"
    common = {
        "FLEETLOOP_FLEET_ID": fleet_id,
        "FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "FLEETLOOP_OBJECTS_URL": layout.objects.as_uri(),
        "FLEETLOOP_CONFIG_DIR": str(config),
        "FLEETLOOP_ADMISSION_LIST": str(layout.admission_list),
        "FLEETLOOP_EVENT_TRUST": str(event_keys.trust),
        "FLEETLOOP_LOG_FORMAT": "json",
        "FLEETLOOP_INSTANCE_ID": "0",  # one process of each kind
    }
    for each in SERVICES:  # all of them, so that a service that is started later is already known to the others
        common[f"FLEETLOOP_{each.package.upper()}_ADDRESS"] = f"127.0.0.1:{ports[f'{each.package}.grpc']}"
    layout.objects.mkdir(parents=True, exist_ok=True)
    specs = [*([broker.spec] if broker.spec else []), _topics_task(broker)]
    for each in entries:
        own = {**_own_env(layout, each, credentials[each.package], ports), **_signing_env(each.package, trust)}
        own |= _kafka_env(each, broker)
        if each.label in event_keys.keys:
            own["FLEETLOOP_EVENT_KEY"] = str(event_keys.keys[each.label])
        if each.package == "fleet_console":
            own.update(FLEETLOOP_ACCOUNTS=str(layout.accounts), FLEETLOOP_LINKS=str(layout.links))
        added = (more_env or {}).get(each.package, {})
        specs.append(_spec(each, {**common, **own, **each.env, **added}, ports, entries))
    return RunSpecs(tuple(specs), info, broker)


def _policy(config: Path) -> AccessPolicy:
    try:
        return load_access(config)
    except SettingsError as error:
        raise UserError(f"{error}.", "Correct the file; nothing was started.") from error


def _enrol(
    layout: RunLayout, fleet_id: str, policy: AccessPolicy, entries: Sequence[Entry], now: datetime
) -> dict[str, Credentials]:
    """Issue certificates to the services and to the local user, and admit those who are new.

    What was revoked stays revoked, and roles that were changed stay changed.
    """
    try:
        authority = CertificateAuthority.open(layout.identities / "authority", fleet=fleet_id, now=now)
        path = layout.admission_list
        known = {each.spiffe_id: each for each in AdmissionList(path).entries()}
        for each in SERVICES:  # all of them, so that a service that is started later is admitted
            who = Identity(fleet_id, IdentityKind.SERVICE, each.label)
            if who.uri not in known:
                admit(path, who, "", now=now)
        local = authority.issue(IdentityKind.USER, LOCAL_USER, layout.identities / "users" / LOCAL_USER, now=now)
        entry = known.get(local.identity.uri)
        if entry is None or entry.revoked is None:
            roles = policy.roles if entry is None else None
            admit(path, local.identity, local.serial, now=now, roles=roles, issuer=local.issuer, key=local.key_id)
        return {
            each.package: authority.issue(
                IdentityKind.SERVICE, each.label, layout.identities / "services" / each.package, now=now
            )
            for each in entries
        }
    except PkiError as error:
        raise UserError(f"{error}.", f"The identities of this run are in {layout.identities}.") from error


def chosen(names: Sequence[str] | None) -> tuple[Entry, ...]:
    """Return the table's rows for `names` (with hyphens or underscores) in the table's order; all rows for None."""
    known = {each.package: each for each in SERVICES}
    wanted = list(known) if names is None else [name.strip().replace("-", "_") for name in names]
    for name in wanted:
        if name not in known:
            raise UserError(f"There is no service {name!r}.", f"Choose from {', '.join(known)}.")
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"The service {name} is not installed.",
                "Services come with a clone (`make setup`) or an image; `pip install fleetloop` has the client side.",
            )
    return tuple(each for each in SERVICES if each.package in wanted)


def _ports(layout: RunLayout, rng: random.Random) -> dict[str, int]:
    names = [f"{each.package}.{name}" for each in SERVICES for name in ("grpc", "http", *each.more_ports)]
    return remembered_ports(layout.ports_file, names, rng)


def _topics_task(broker: Broker) -> ServiceSpec:
    command: tuple[str, ...] = (sys.executable, "-m")
    if broker.users is not None:
        command += ("fleetloop.embedded.prepare_broker", broker.bootstrap_servers, str(broker.users.folder))
    else:
        command += ("fleetloop.create_topics", broker.bootstrap_servers, str(topic_catalogue()))
    return ServiceSpec(TOPICS, command, needs=(broker.spec.name,) if broker.spec else (), task=True)


def _own_env(layout: RunLayout, each: Entry, credentials: Credentials, ports: Mapping[str, int]) -> dict[str, str]:
    state = layout.service_state(each.package)
    state.mkdir(parents=True, exist_ok=True)
    traces = layout.root / "traces"
    traces.mkdir(exist_ok=True)
    env = {
        "FLEETLOOP_GRPC_LISTEN": f"127.0.0.1:{ports[f'{each.package}.grpc']}",
        "FLEETLOOP_HTTP_LISTEN": f"127.0.0.1:{ports[f'{each.package}.http']}",
        "FLEETLOOP_TLS_CA": str(credentials.ca),
        "FLEETLOOP_TLS_CERT": str(credentials.cert),
        "FLEETLOOP_TLS_KEY": str(credentials.key),
        "FLEETLOOP_STATE_DIR": str(state),
        "FLEETLOOP_DATABASE_URL": f"sqlite:///{state / 'state.db'}",
        "FLEETLOOP_TRACE_FILE": str(traces / f"{each.package}.jsonl"),
    }
    for name, variable in each.more_ports.items():
        env[variable] = f"127.0.0.1:{ports[f'{each.package}.{name}']}"
    return {**(_ONE_THREAD if each.one_thread else {}), **env}


def _kafka_env(each: Entry, broker: Broker) -> dict[str, str]:
    """Return the service's own user of an embedded broker. For any other, the variables of this process apply."""
    if broker.users is None:
        return {}
    return {
        "FLEETLOOP_KAFKA_USERNAME": each.label,
        "FLEETLOOP_KAFKA_PASSWORD": broker.users.password(each.label),
        "FLEETLOOP_KAFKA_TLS": "false",
    }


def _signing_env(package: str, trust: Trust) -> dict[str, str]:
    """Return the variables with the online key, for the two services that sign."""
    if package == "training_orchestrator":
        return {"FLEETLOOP_SIGNING_KEY": str(trust.orchestrator_key)}
    if package == "rollout_controller":
        return {"FLEETLOOP_SIGNING_KEY": str(trust.rollout_key), "FLEETLOOP_TRUST_DIR": str(trust.folder)}
    return {}


def _spec(each: Entry, env: Mapping[str, str], ports: Mapping[str, int], entries: Sequence[Entry]) -> ServiceSpec:
    running = {entry.package for entry in entries}
    http = f"127.0.0.1:{ports[f'{each.package}.http']}"
    return ServiceSpec(
        each.package,
        (sys.executable, "-m", each.package),
        needs=(TOPICS, *(name for name in each.needs if name in running)),
        env=env,
        ready=http_ok(http, "/readyz"),
        live=http_ok(http, "/livez"),
        ports={name: ports[f"{each.package}.{name}"] for name in ("grpc", "http", *each.more_ports)},
        grace_s=each.grace_s,
    )

"""Certificates and admissions for tests with real servers over TLS on loopback."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import grpc

from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.access import AccessPolicy, Rule
from fleetloop.kit.security.admission import admit, revoke
from fleetloop.kit.security.identity import Identity, IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority, Credentials

EVERYBODY = Rule(roles=("any",), services=("fleet-console", "label-router"))


def policy_of(methods: dict[str, Rule], speakers: Collection[str] = ("fleet-console",)) -> AccessPolicy:
    """A policy with the roles that its rules name."""
    roles = {role: "" for rule in methods.values() for role in rule.roles}
    return AccessPolicy(roles, methods, speakers)


class Callers:
    """A fleet's certificate authority and admission list."""

    def __init__(self, folder: Path, fleet: str = "f") -> None:
        self.folder = folder
        self.fleet = fleet
        self.list = folder / "admission.json"
        self.authority = CertificateAuthority.open(folder / "authority", fleet=fleet, now=datetime.now(UTC))

    def credentials(self, who: str) -> Credentials:
        """A certificate of `<kind>/<name>`, which is not admitted yet."""
        kind, _, name = who.partition("/")
        return self.authority.issue(IdentityKind(kind), name, self.folder / kind / name, now=datetime.now(UTC))

    def admitted(self, who: str, roles: Collection[str] | None = None) -> Credentials:
        """A certificate of `<kind>/<name>`, which is admitted with these roles."""
        issued = self.credentials(who)
        serial = "" if issued.identity.kind == IdentityKind.SERVICE else issued.serial
        admit(self.list, issued.identity, serial, now=datetime.now(UTC), roles=roles)
        return issued

    def revoke(self, who: str) -> None:
        """Revoke an admission."""
        kind, _, name = who.partition("/")
        revoke(self.list, Identity(self.fleet, kind, name), now=datetime.now(UTC), reason="test")

    def settings(self, service: str, check_s: float = 0.2) -> ServiceSettings:
        """Settings of a server with this service's certificate."""
        own = self.admitted(f"service/{service}")
        return ServiceSettings(
            fleet_id=self.fleet, kafka_bootstrap_servers="none:1", tls_ca=own.ca, tls_cert=own.cert, tls_key=own.key,
            admission_list=self.list, admission_check_s=check_s,
        )  # fmt: skip


def channel(service: str, port: int, own: Credentials) -> grpc.aio.Channel:
    """A channel to a service on this machine."""
    return open_channel(service, f"127.0.0.1:{port}", own.ca, own.cert, own.key)

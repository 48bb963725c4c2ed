"""The access policy: for each RPC the roles, services and vehicles that may call it, read from config/access.yaml.

It denies by default. Roles belong to people; a service or a vehicle has none and is named by its certificate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fleetloop.kit.process.settings import SettingsError, load_edited
from fleetloop.kit.refusal import PermissionDeniedError
from fleetloop.kit.security.identity import Identity, IdentityKind, is_name

ROLE_GIVER = "operator"
"""The role whose owners give roles to others (`fleetloop users roles`)."""


class Rule(BaseModel):
    """Who may call a method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Names of services without `service/`."""
    vehicles: bool = False


class SecondPerson(BaseModel):
    """Where the person who approves has to be another than the author."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaigns: bool = False
    test_sets: bool = False
    releases: bool = False


class _AccessFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: dict[str, str]
    speakers: tuple[str, ...] = ()
    second_person: SecondPerson = SecondPerson()
    methods: dict[str, Rule]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may call what. Read it with `load_policy`."""

    roles: Collection[str]
    """Names of all roles."""
    methods: Mapping[str, Rule]
    """Rules by `<service>/<method>`, or `<service>/*` for the methods of a service without an own entry."""
    speakers: Collection[str] = ()
    """Names of services that may call on behalf of a person."""
    second_person: SecondPerson = field(default_factory=SecondPerson)

    def rule(self, method: str) -> Rule | None:
        """The rule of a method, given as `/<service>/<method>`; None when there is none."""
        name = method.removeprefix("/")
        return self.methods.get(name) or self.methods.get(f"{name.partition('/')[0]}/*")

    def permits(self, who: Identity, roles: Collection[str], method: str) -> bool:
        """True when the rule of the method names the service, vehicles, or one of the person's roles."""
        rule = self.rule(method)
        if rule is None:
            return False
        if who.kind == IdentityKind.USER:
            return any(role in rule.roles for role in roles)
        if who.kind == IdentityKind.SERVICE:
            return who.name in rule.services
        return who.kind == IdentityKind.VEHICLE and rule.vehicles

    def check(self, who: Identity, roles: Collection[str], method: str, *, from_login: bool = False) -> None:
        """Raises PermissionDeniedError, which says which role is missing and who can give it.

        `from_login`: a speaker's login established the roles, not the admission list.
        """
        if self.permits(who, roles, method):
            return
        message = f"{who} may not call {method}"
        rule = self.rule(method)
        if who.kind != IdentityKind.USER or rule is None or not rule.roles:
            raise PermissionDeniedError(message)
        own = f"has only {', '.join(sorted(roles))}" if roles else "has no role"
        remedy = f"an {ROLE_GIVER} gives roles with `fleetloop users roles {who.name} --add ROLE`"
        if from_login:
            remedy = "the login gives roles: ask who manages its groups, and log in again"
        needed = f"it needs the role {' or '.join(rule.roles)}, and {who.name} {own}"
        raise PermissionDeniedError(f"{message}: {needed}", remedy=remedy)

    def may_speak(self, who: Identity) -> bool:
        """True for a service that may call on behalf of a person."""
        return who.kind == IdentityKind.SERVICE and who.name in self.speakers

    def faults(self, known: Mapping[str, Collection[str]], *, all_services: bool) -> Iterator[str]:
        """What is wrong with the policy, each as `field: problem`.

        Args:
            known: The methods of each service, by the service's full name.
            all_services: Whether `known` has every service there is, so that an entry of another one is a fault.
        """
        for name, rule in self.methods.items():
            service, separator, method = name.partition("/")
            if not separator or (all_services and service not in known):
                yield f"methods.{name}: there is no such service; give <package>.<service>/<method>"
            elif service in known and method != "*" and method not in known[service]:
                yield f"methods.{name}: {service} has no such method; it has {', '.join(sorted(known[service]))}"
            for role in rule.roles:
                if role not in self.roles:
                    yield f"methods.{name}.roles: there is no role {role!r}; there are {', '.join(self.roles)}"
            for each in rule.services:
                if not is_name(each):
                    yield f"methods.{name}.services: {each!r} is no name of a service"
        for service, methods in known.items():
            for method in methods:
                if self.rule(f"/{service}/{method}") is None:
                    yield f"methods: {service}/{method} has no entry; list who may call it; {{}} closes it"
        for role in self.roles:
            if not is_name(role):
                yield f"roles.{role}: use up to 63 letters, digits, dots, hyphens and underscores"
        for each in self.speakers:
            if not is_name(each):
                yield f"speakers: {each!r} is no name of a service"


def load_policy(
    path: Path, known: Mapping[str, Collection[str]] | None = None, *, all_services: bool = False
) -> AccessPolicy:
    """Reads and checks the policy; `known` and `all_services` are those of `AccessPolicy.faults`.

    Raises SettingsError, which names the file and each wrong field.
    """
    read = load_edited(path, _AccessFile)
    policy = AccessPolicy(read.roles, read.methods, read.speakers, read.second_person)
    faults = [f"{path}: {fault}" for fault in policy.faults(known or {}, all_services=all_services)]
    if faults:
        raise SettingsError("\n".join(faults))
    return policy

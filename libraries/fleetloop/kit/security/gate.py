"""The decision about one call: whose it is, whether the caller is admitted, and whether the method is for them.

Every server asks the same gate for every call, and again, while a call is open, every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleetloop.kit.refusal import InvalidArgumentError, PermissionDeniedError
from fleetloop.kit.security.access import AccessPolicy
from fleetloop.kit.security.admission import Admission
from fleetloop.kit.security.identity import Identity, IdentityKind, is_name

ON_BEHALF_OF = "on-behalf-of"
"""Metadata key in which a speaker, such as the console, names the person on whose behalf it calls."""
ROLES = "fleetloop-roles"
"""Metadata key with the roles of that person, separated by commas, as the speaker's login established them."""
_OPEN_TO_THE_ADMITTED = ("/grpc.health.v1.Health/", "/grpc.reflection.")


class Admissions(Protocol):
    """Says who is admitted."""

    def admitted(self, who: Identity, serial: str | None) -> Admission:
        """The caller's entry. Raises PermissionDeniedError, or UnavailableError when the list cannot be read."""
        ...

    def find(self, who: Identity) -> Admission | None:
        """The entry of a name, also a revoked one. Raises UnavailableError when the list cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the owner of the certificate, or the person whom a speaker names."""

    identity: Identity
    roles: tuple[str, ...] = ()


def speak_for(name: str, roles: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The metadata of a call on behalf of a person. Only services that the policy lists as speakers may send it."""
    return ((ON_BEHALF_OF, name), (ROLES, ",".join(roles)))


class Gate:
    """Checks calls to one server."""

    def __init__(self, fleet_id: str, policy: AccessPolicy, admissions: Admissions) -> None:
        self._fleet_id = fleet_id
        self._policy = policy
        self._admissions = admissions

    def check(
        self, owner: Identity, serial: str | None, method: str, metadata: Sequence[tuple[str, str | bytes]]
    ) -> Caller:
        """The caller of `method`, when the owner of the certificate may make this call.

        Args:
            owner: The identity in the certificate.
            serial: The certificate's serial number; None for a server without TLS, which only tests have.
            method: `/<service>/<method>`.
            metadata: The call's metadata.

        Raises PermissionDeniedError, InvalidArgumentError for malformed metadata, or UnavailableError when the
        admission list cannot be read.
        """
        if owner.fleet_id != self._fleet_id:
            raise PermissionDeniedError(f"{owner.uri} is not of the fleet {self._fleet_id}")
        entry = self._admissions.admitted(owner, serial)
        if method.startswith(_OPEN_TO_THE_ADMITTED):
            return Caller(owner, entry.roles)
        person = self._person(owner, metadata)
        found = Caller(owner, entry.roles if owner.kind == IdentityKind.USER else ()) if person is None else person
        self._policy.check(found.identity, found.roles, method, from_login=person is not None)
        return found

    def _person(self, speaker: Identity, metadata: Sequence[tuple[str, str | bytes]]) -> Caller | None:
        """The person for whom the speaker calls; None when it calls for itself."""
        names = [value for key, value in metadata if key == ON_BEHALF_OF]
        lists = [value for key, value in metadata if key == ROLES]
        for field, values in ((ON_BEHALF_OF, names), (ROLES, lists)):
            if values and not self._policy.may_speak(speaker):
                raise PermissionDeniedError(f"{speaker} may speak only for itself", field)
        if not names and not lists:
            return None
        if len(names) != 1 or not is_name(names[0]):
            remedy = "give one name of at most 63 letters, digits, dots, hyphens and underscores"
            raise InvalidArgumentError(remedy, ON_BEHALF_OF)
        if len(lists) > 1:
            raise InvalidArgumentError("give the roles once, separated by commas", ROLES)
        roles = tuple(role for role in str(lists[0]).split(",") if role) if lists else ()
        for role in roles:
            if role not in self._policy.roles:
                raise InvalidArgumentError(f"there is no role {role!r}", ROLES, "config/access.yaml lists all roles")
        person = Identity(self._fleet_id, IdentityKind.USER, str(names[0]))
        entry = self._admissions.find(person)
        if entry is not None and entry.revoked is not None:
            raise PermissionDeniedError(entry.refusal_text(), ON_BEHALF_OF)
        return Caller(person, roles)


class NoAdmissions:
    """Admits everybody: for servers without TLS, which only tests have."""

    def admitted(self, who: Identity, serial: str | None) -> Admission:
        return Admission(who.uri, "", "")

    def find(self, who: Identity) -> Admission | None:
        return None

    def revoked(self, kind: IdentityKind) -> frozenset[str]:
        return frozenset()

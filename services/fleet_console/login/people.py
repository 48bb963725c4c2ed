"""Who may log in, with which roles: local accounts, one-time links, and the claims of an identity provider.

Roles of a local account are those of the admission list. Roles of a person from the provider come from the groups in
a claim, by the mapping in the settings; a group without an entry gives nothing. Everything else is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from fleet_console.login.sessions import Person
from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError
from fleetloop.kit.security.gate import Admissions
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError, is_person_name
from fleetloop.kit.security.passwords import Accounts, Links, password_matches

_AT = "-at-"


class NotAPersonError(Exception):
    """The provider's claims name no person who may log in; the text says why."""


class People:
    """The standing of everybody who may log in."""

    def __init__(
        self, fleet_id: str, admissions: Admissions, roles: Collection[str], accounts: Accounts | None
    ) -> None:
        """`roles`: names of all roles that the policy knows."""
        self._fleet_id = fleet_id
        self._admissions = admissions
        self._roles = roles
        self._accounts = accounts

    def roles(self, person: Person) -> tuple[str, ...]:
        """The roles now. Raises PermissionDeniedError, or UnavailableError if it cannot be decided."""
        who = Identity(self._fleet_id, IdentityKind.USER, person.name)
        if person.from_provider:
            entry = self._admissions.find(who)
            if entry is not None and entry.revoked is not None:
                raise PermissionDeniedError(entry.refusal_text())
            return person.roles
        if person.proof and _proof(self._stored(person.name)) != person.proof:
            raise PermissionDeniedError("the password was changed")
        entry = self._admissions.admitted(who, None)
        return tuple(role for role in entry.roles if role in self._roles)

    def by_password(self, name: str, password: str) -> Person | None:
        """The person of a local account; None for a wrong name or password. Takes a tenth of a second."""
        stored = self._stored(name) if is_person_name(name) else None
        if not password_matches(stored, password):
            return None
        return Person(name, from_provider=False, proof=_proof(stored))

    def by_claims(
        self, claims: Mapping[str, Any], name_claim: str, roles_claim: str, groups: Mapping[str, Collection[str]]
    ) -> Person:
        """The person of verified claims. Raises NotAPersonError."""
        name = person_name(claims, name_claim)
        if self._stored(name) is not None:
            raise NotAPersonError(f"{name} has a local account; log in with its password")
        given = claim_at(claims, roles_claim)
        mine = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
        roles = {role for group in mine for role in groups.get(group, ())}
        if not roles:
            raise NotAPersonError(f"no group of {name} gives a role in this fleet")
        return Person(name, from_provider=True, roles=tuple(sorted(roles)))

    def _stored(self, name: str) -> str | None:
        if self._accounts is None:
            return None
        try:
            return self._accounts.find(name)
        except PkiError as error:
            raise UnavailableError(str(error)) from error


def by_link(links: Links, secret: str, now_utc_s: float) -> Person | None:
    """The person of a one-time link, which is spent; None for any other secret."""
    name = links.spend(secret, now_utc_s)
    return None if name is None else Person(name, from_provider=False)


def person_name(claims: Mapping[str, Any], name_claim: str) -> str:
    """The name in a claim: ann@example.org becomes ann-at-example.org, and no other character is replaced.

    Two different values never give the same name. Raises NotAPersonError.
    """
    said = claim_at(claims, name_claim)
    if not isinstance(said, str) or not said:
        raise NotAPersonError(f"the provider gave no {name_claim}")
    if name_claim == "email" and claims.get("email_verified") is not True:
        raise NotAPersonError("the provider has not verified the e-mail address")
    name = said.replace("@", _AT)
    if _AT in said or said.count("@") > 1 or not is_person_name(name):
        raise NotAPersonError(
            f"{name_claim} is {said[:80]!r}, which cannot be a name: at most 63 letters, digits, dots, hyphens, "
            "underscores and one @"
        )
    return name


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """The value of a claim; dots lead into objects, as in realm_access.roles."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _proof(stored: str | None) -> str:
    return hashlib.sha256(stored.encode()).hexdigest()[:32] if stored is not None else "none"

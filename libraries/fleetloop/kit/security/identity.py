"""Identities of vehicles, services and people.

An identity is written as a SPIFFE URI in a certificate: `spiffe://<fleet>/vehicle/<name>`,
`spiffe://<fleet>/service/<name>` or `spiffe://<fleet>/user/<name>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FLEET = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class PkiError(Exception):
    """An identity or a certificate cannot be made or read. The text names what is wrong and the remedy."""


class IdentityKind(StrEnum):
    """What an identity belongs to."""

    SERVICE = "service"
    VEHICLE = "vehicle"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Identity:
    """One vehicle, service or person of one fleet. The constructor checks the parts and raises PkiError."""

    fleet_id: str
    kind: str
    """One of IdentityKind."""
    name: str

    def __post_init__(self) -> None:
        if not _FLEET.fullmatch(self.fleet_id):
            raise PkiError(f"fleet {self.fleet_id!r}: use up to 63 of a-z, 0-9, '.', '_', '-'")
        if self.kind not in tuple(IdentityKind):
            raise PkiError(f"the kind {self.kind!r} is unknown; there are {', '.join(IdentityKind)}")
        if not _NAME.fullmatch(self.name):
            raise PkiError(f"{self.kind} name {self.name!r}: use up to 63 of A-Z, a-z, 0-9, '.', '_', '-'")

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """The identity of a SPIFFE URI. Raises PkiError for any other text."""
        scheme, separator, rest = uri.partition("://")
        parts = rest.split("/")
        if scheme != "spiffe" or not separator or len(parts) != 3:
            raise PkiError(f"{uri!r} is not of the form spiffe://<fleet>/<kind>/<name>")
        try:
            return cls(*parts)
        except PkiError as error:
            raise PkiError(f"{uri!r}: {error}") from error

    @property
    def uri(self) -> str:
        """`spiffe://<fleet>/<kind>/<name>`, as certificates and the admission list have it."""
        return f"spiffe://{self.fleet_id}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        """`<kind>/<name>`, as logs and records of who changed what have it."""
        return f"{self.kind}/{self.name}"


def parse_spiffe_id(uri: str) -> Identity | None:
    """The identity of a SPIFFE URI, or None for any other text."""
    try:
        return Identity.parse(uri)
    except PkiError:
        return None


def is_person_name(name: object) -> bool:
    """True for what may stand in `user/<name>`."""
    return is_name(name)


def is_name(name: object) -> bool:
    """True for what may stand in `<kind>/<name>`: 1 to 63 ASCII letters, digits, dots, hyphens, underscores."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None

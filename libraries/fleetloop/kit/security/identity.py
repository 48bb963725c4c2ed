"""Who speaks: SPIFFE ids in client certificates, and the list of who may call what.

`spiffe://<fleet>/vehicle/<id>`, `spiffe://<fleet>/service/<name>` and `spiffe://<fleet>/user/<name>`. A method
that no rule names may be called by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_PERSON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
HEALTH_AND_REFLECTION = ("/grpc.health.v1.Health/*", "/grpc.reflection.*")


@dataclass(frozen=True, slots=True)
class Identity:
    """The peer, as its certificate says and the CA vouches."""

    fleet_id: str
    kind: str
    """vehicle, service or user."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def parse_spiffe_id(uri: str) -> Identity | None:
    """The identity in a SPIFFE URI of our form, or None for any other."""
    scheme, _, rest = uri.partition("://")
    parts = rest.split("/")
    if scheme != "spiffe" or len(parts) != 3 or not all(parts):
        return None
    return Identity(*parts)


def is_person_name(name: object) -> bool:
    """True for what may stand in `user/<name>`: 1 to 63 ASCII letters, digits, dots, hyphens, underscores."""
    return isinstance(name, str) and _PERSON_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class AllowList:
    """Method globs, each with the identity globs (`kind/name`) that may call it."""

    fleet_id: str
    rules: Mapping[str, Sequence[str]]

    def permits(self, identity: Identity, method: str) -> bool:
        """True when the identity belongs to this fleet and a rule for the method names it."""
        if identity.fleet_id != self.fleet_id:
            return False
        if any(fnmatchcase(method, pattern) for pattern in HEALTH_AND_REFLECTION):
            return True
        return any(
            fnmatchcase(str(identity), who)
            for pattern, allowed in self.rules.items()
            if fnmatchcase(method, pattern)
            for who in allowed
        )

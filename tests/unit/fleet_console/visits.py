"""People who are logged in."""

from __future__ import annotations

from fleet_console.login.sessions import Person, Sessions, Visit
from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError

S = 10**9


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.ns = 1000 * S

    def now_utc_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns


class Roles:
    """Everybody may log in with the roles of the login, until something else is said."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.unknown = False

    def roles(self, person: Person) -> tuple[str, ...]:
        if self.unknown:
            raise UnavailableError("the list cannot be read")
        if person.name in self.revoked:
            raise PermissionDeniedError(f"{person.name} was revoked")
        return person.roles


def sessions_of(standing: Roles, clock: Hands, idle_s: float = 60, longest_s: float = 600) -> Sessions:
    return Sessions(standing, clock, idle_s, longest_s)


def visit_of(name: str, *roles: str) -> Visit:
    """A visit of its own."""
    sessions = sessions_of(Roles(), Hands())
    session = sessions.find(sessions.start(Person(name, from_provider=True, roles=roles)))
    assert session is not None
    return Visit(session, sessions)

"""Sessions of people who logged in. They are in memory: a restart of the console ends them all.

The browser has a random token in a cookie; the console keeps only the token's hash. A session ends after a time
without use, after a time in all, when its person logs out, and when its person may no longer log in. Whatever acts
for a person asks the session for its roles at that moment, so that nothing happens in the name of one that has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError
from fleetloop.kit.rpc import speak_for

log = get_logger(__name__)
MOST_SESSIONS = 10_000
MOST_OF_ONE_PERSON = 20
"""Open sessions; the one that was used longest ago ends first."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in, and by what."""

    name: str
    from_provider: bool
    """True when the identity provider named the person and the groups, False for a local account or link."""
    roles: tuple[str, ...] = ()
    """Roles by the provider's groups; empty for a local account, whose roles are in the admission list."""
    proof: str = ""
    """Fingerprint of the stored password, so that a new password ends older sessions; empty without a password."""
    logout_url: str = ""
    """Where the provider ends its own session."""


class Standing(Protocol):
    """Says what a person may do now."""

    def roles(self, person: Person) -> tuple[str, ...]:
        """Raises PermissionDeniedError for a person who may no longer log in, UnavailableError if undecided."""
        ...


class SessionEndedError(Exception):
    """The session has ended; the person has to log in again."""


@dataclass(eq=False, slots=True)
class Session:
    """One login in one browser."""

    key: str
    person: Person
    started_ns: int
    used_ns: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    on_end: list[Callable[[], object]] = field(default_factory=list)
    """Called once, when the session ends."""


class Sessions:
    """All sessions of this console."""

    def __init__(self, standing: Standing, clock: Clock, idle_s: float, longest_s: float) -> None:
        """`idle_s`: seconds without use, `longest_s`: seconds since the login, after which a session ends."""
        self._standing = standing
        self._clock = clock
        self._idle_ns = seconds_to_ns(idle_s)
        self._longest_ns = seconds_to_ns(longest_s)
        self._sessions: dict[str, Session] = {}

    def start(self, person: Person, former_token: str = "") -> str:
        """A new session's token. The session that the browser had before ends.

        Raises PermissionDeniedError for a person who may not log in, UnavailableError if that cannot be decided.
        """
        self._standing.roles(person)
        self.end(former_token)
        own = sorted(
            (each for each in self._sessions.values() if each.person.name == person.name), key=lambda s: s.used_ns
        )
        for session in own[: max(0, len(own) - MOST_OF_ONE_PERSON + 1)]:
            self._end(session, "too many sessions of one person")
        if len(self._sessions) >= MOST_SESSIONS:
            self._end(min(self._sessions.values(), key=lambda s: s.used_ns), "too many sessions")
        token, now = secrets.token_urlsafe(32), self._clock.monotonic_ns()
        session = Session(_key(token), person, now, now)
        self._sessions[session.key] = session
        log.info("logged_in", person=person.name, from_provider=person.from_provider)
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token; None if there is none or it has ended. Does not count as use."""
        session = self._sessions.get(_key(token)) if token else None
        if session is not None and self._expired(session):
            self._end(session, "expired")
            return None
        return session

    def touch(self, session: Session) -> None:
        """The person did something."""
        session.used_ns = self._clock.monotonic_ns()

    def roles(self, session: Session) -> tuple[str, ...]:
        """The person's roles now. Raises SessionEndedError, or UnavailableError if it cannot be decided."""
        if not session.ended.is_set() and self._expired(session):
            self._end(session, "expired")
        if session.ended.is_set():
            raise SessionEndedError
        try:
            return self._standing.roles(session.person)
        except PermissionDeniedError as error:
            self._end(session, str(error))
            raise SessionEndedError from error

    def end(self, token: str, *, everywhere: bool = False) -> Session | None:
        """Log out: ends the token's session and, with `everywhere`, all sessions of its person."""
        session = self._sessions.get(_key(token)) if token else None
        if session is None:
            return None
        name = session.person.name
        also = [each for each in self._sessions.values() if everywhere and each.person.name == name]
        for each in {session.key: session, **{each.key: each for each in also}}.values():
            self._end(each, "logged out")
        return session

    def sweep(self) -> None:
        """End what has expired, and the sessions of people who may no longer log in."""
        for session in list(self._sessions.values()):
            try:
                self.roles(session)
            except (SessionEndedError, UnavailableError):
                continue

    async def watch(self, stopping: asyncio.Event, every_s: float) -> None:
        """Sweep until `stopping`."""
        while not stopping.is_set():
            self.sweep()
            await pause(stopping, every_s)

    def _expired(self, session: Session) -> bool:
        now = self._clock.monotonic_ns()
        return now - session.used_ns > self._idle_ns or now - session.started_ns > self._longest_ns

    def _end(self, session: Session, reason: str) -> None:
        if self._sessions.pop(session.key, None) is None:
            return
        log.info("session_ended", person=session.person.name, reason=reason)
        session.ended.set()
        for callback in list(session.on_end):
            callback()


@dataclass(frozen=True, slots=True)
class Visit:
    """A person's use of the console: what a page gets, and what speaks to the services for the person."""

    session: Session
    sessions: Sessions

    @property
    def name(self) -> str:
        return self.session.person.name

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call in the person's name. Raises SessionEndedError, or UnavailableError."""
        return speak_for(self.name, self.sessions.roles(self.session))


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()

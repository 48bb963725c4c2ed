"""The requests by which a session begins and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fleet_console.login.attempts import Guesses
from fleet_console.login.markup import BEGIN, CALLBACK, LINK, LOGIN, LOGOUT, link_page, login_page, page
from fleet_console.login.people import NotAPersonError, People, by_link
from fleet_console.login.provider import LOGIN_S, Provider, ProviderError
from fleet_console.login.rights import Rights
from fleet_console.login.sessions import Person, Sessions
from fleet_console.settings import FleetConsoleSettings
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.refusal import PermissionDeniedError, UnavailableError
from fleetloop.kit.security.passwords import Links

log = get_logger(__name__)
_BEGUN = "fleetloop_login"
_MOST_FORM_BYTES = 16_384
_MOST_HASHES = 2
"""Passwords that are hashed at once: each takes 32 MiB."""
_WRONG = "The name or the password is wrong."


def session_cookie(page_origin: str) -> str:
    """Name of the session's cookie. With TLS the browser keeps it from other hosts and from plain HTTP."""
    return "__Host-fleetloop_session" if page_origin.startswith("https://") else "fleetloop_session"


@dataclass(frozen=True, slots=True)
class LoginParts:
    """What the requests need."""

    settings: FleetConsoleSettings
    sessions: Sessions
    people: People
    rights: Rights
    clock: Clock
    provider: Provider | None


def add_login(application: FastAPI, parts: LoginParts) -> None:
    """Register the requests."""
    routes = LoginRoutes(parts)
    application.add_api_route(LOGIN, routes.show, methods=["GET"])
    application.add_api_route(LOGIN, routes.password, methods=["POST"])
    application.add_api_route(LINK, routes.show_link, methods=["GET"])
    application.add_api_route(LINK, routes.use_link, methods=["POST"])
    application.add_api_route(BEGIN, routes.begin, methods=["GET"])
    application.add_api_route(CALLBACK, routes.callback, methods=["GET"])
    application.add_api_route(LOGOUT, routes.logout, methods=["POST"])


class LoginRoutes:
    """One for the console."""

    def __init__(self, parts: LoginParts) -> None:
        self._parts = parts
        self._guesses = Guesses()
        self._hashing = asyncio.Semaphore(_MOST_HASHES)
        self._links = Links(parts.settings.links) if parts.settings.links is not None else None

    async def show(self, request: Request) -> Response:
        """The login page."""
        return self._page(self._target(request.query_params.get("next", "")))

    async def password(self, request: Request) -> Response:
        """Log in to a local account."""
        form = await _form(request)
        name, target = form.get("name", "").strip(), self._target(form.get("next", ""))
        if self._parts.settings.accounts is None:
            return self._page(target, "There are no local accounts.", 403)
        wait_s = self._guesses.wait_s(name, self._parts.clock.monotonic_ns())
        if wait_s > 0 or self._hashing.locked():
            return self._page(target, f"Too many attempts. Try again in {max(1, round(wait_s))} seconds.", 429)
        try:
            async with self._hashing:
                person = await asyncio.to_thread(self._parts.people.by_password, name, form.get("password", ""))
        except UnavailableError as error:
            log.error("accounts_unreadable", error=str(error))
            return self._page(target, "The accounts cannot be read now.", 503)
        if person is None:
            self._guesses.wrong(name, self._parts.clock.monotonic_ns())
            log.warning("wrong_password", name=name[:63])
            return self._page(target, _WRONG, 403)
        self._guesses.right(name)
        return self._enter(request, person, target)

    async def show_link(self, request: Request) -> Response:
        """Ask before a one-time link is spent."""
        secret = request.query_params.get("secret", "")
        name = self._links.owner(secret, self._now_s()) if self._links is not None else None
        if name is None:
            return self._page("", "This link was used, or is older than ten minutes. Make a new one.", 403)
        return HTMLResponse(link_page(secret, name))

    async def use_link(self, request: Request) -> Response:
        """Log in by a one-time link."""
        form = await _form(request)
        person = by_link(self._links, form.get("secret", ""), self._now_s()) if self._links is not None else None
        if person is None:
            return self._page("", "This link was used, or is older than ten minutes. Make a new one.", 403)
        return self._enter(request, person, "")

    async def begin(self, request: Request) -> Response:
        """Send the browser to the identity provider."""
        if self._parts.provider is None:
            return self._page("", "There is no identity provider.", 404)
        try:
            response, begun = await self._parts.provider.begin(request)
        except ProviderError as error:
            log.warning("provider_failed", error=str(error))
            return self._page("", f"{error}.", 502)
        self._set(response, _BEGUN, begun, path=LOGIN, longest_s=LOGIN_S)
        return response

    async def callback(self, request: Request) -> Response:
        """The provider's answer."""
        provider, settings = self._parts.provider, self._parts.settings
        if provider is None:
            return self._page("", "There is no identity provider.", 404)
        response: Response
        try:
            claims = await provider.finish(request, request.cookies.get(_BEGUN, ""))
            person = self._parts.people.by_claims(
                claims, settings.oidc_name_claim, settings.oidc_roles_claim, settings.oidc_groups
            )
        except ProviderError as error:
            log.warning("login_refused", error=str(error), cause=repr(error.__cause__))
            response = self._page("", f"You were not logged in: {error}.", 403)
        except NotAPersonError as error:
            log.warning("login_refused", error=str(error))
            response = self._page("", f"You were not logged in: {error}.", 403)
        except UnavailableError:
            response = self._page("", "The console cannot check now who may log in.", 503)
        else:
            person = replace(person, logout_url=provider.logout_url(str(claims["id_token"])))
            response = self._enter(request, person, "")
        response.delete_cookie(_BEGUN, path=LOGIN)
        return response

    async def logout(self, request: Request) -> Response:
        """End the session here, in all its windows, and at the provider."""
        form = await _form(request)
        cookie = session_cookie(self._parts.settings.page_origin)
        ended = self._parts.sessions.end(request.cookies.get(cookie, ""), everywhere=form.get("everywhere") == "yes")
        body = f'<p>You are logged out.</p><p><a href="{LOGIN}">Log in again</a></p>'
        response = HTMLResponse(page("Logged out", body))
        if ended is not None and ended.person.logout_url:
            response.headers["refresh"] = f"0; url={ended.person.logout_url}"
        response.delete_cookie(cookie, path="/", secure=self._secure, httponly=True, samesite="lax")
        return response

    def _enter(self, request: Request, person: Person, target: str) -> Response:
        """Begin a session under a new token, whatever token the browser had."""
        cookie = session_cookie(self._parts.settings.page_origin)
        try:
            token = self._parts.sessions.start(person, request.cookies.get(cookie, ""))
        except PermissionDeniedError as error:
            log.warning("login_refused", error=str(error))
            return self._page(target, f"You were not logged in: {error}.", 403)
        except UnavailableError:
            return self._page(target, "The console cannot check now who may log in.", 503)
        response = RedirectResponse(target or "/", 303)
        self._set(response, cookie, token, path="/", longest_s=self._parts.settings.session_longest_s)
        return response

    def _page(self, target: str, problem: str = "", status: int = 200) -> HTMLResponse:
        settings = self._parts.settings
        html = login_page(
            accounts=settings.accounts is not None, provider=self._parts.provider is not None,
            links=self._links is not None, target=target, problem=problem,
        )  # fmt: skip
        return HTMLResponse(html, status)

    def _target(self, said: str) -> str:
        """The page to go on to: only one of ours, so that a login leads nowhere else."""
        return said if said in self._parts.rights.pages else ""

    @property
    def _secure(self) -> bool:
        return self._parts.settings.page_origin.startswith("https://")

    def _set(self, response: Response, name: str, value: str, *, path: str, longest_s: float) -> None:
        response.set_cookie(
            name, value, max_age=round(longest_s), path=path, secure=self._secure, httponly=True, samesite="lax"
        )

    def _now_s(self) -> float:
        return ns_to_seconds(self._parts.clock.now_utc_ns())


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a small form; none for anything else."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            return {}
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10))
    except ValueError:
        return {}

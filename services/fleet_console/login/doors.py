"""What stands in front of every request: host name, origin, session, roles of the person, and security headers.

These are ASGI applications around the pages, so that no page, file or websocket can be reached without them.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from fleet_console.login.markup import BEGIN, CALLBACK, LINK, LOGIN, page, refused_page
from fleet_console.login.rights import Rights
from fleet_console.login.sessions import Session, SessionEndedError, Sessions, Visit
from fleetloop.kit.refusal import UnavailableError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = (
    LOGIN,
    LINK,
    BEGIN,
    CALLBACK,
    "/assets/console.css",
    "/assets/login.css",
    "/favicon.ico",
)
VISIT = "fleet_console.visit"
"""Key of the scope with the person's visit."""
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_STATIC = re.compile(r"/(assets|_nicegui/[^/]+/(static|components|esm|libraries|dynamic_resources|resources))/")
_SCRIPT = re.compile(rb"<script(?=[\s>])")
_ACTED = '42["event"'
"""How a message of the page begins when its person did something; timers and acknowledgements begin otherwise."""
_MOST_HTML = 16 * 2**20
_PERMISSIONS = ", ".join(
    f"{each}=()" for each in ("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "microphone",
                              "midi", "payment", "usb")
)  # fmt: skip


class Hosts:
    """Which names a request may use for the console, and which origins may change something."""

    def __init__(self, page_origin: str, page_hosts: str, page_listen: str) -> None:
        self._origin = page_origin
        self.names = {each.strip().lower() for each in page_hosts.split(",") if each.strip()}
        if page_origin:
            self.names.add((urlsplit(page_origin).hostname or "").lower())
        listens = page_listen.rpartition(":")[0].strip("[]") or "127.0.0.1"
        if _is_loopback(listens):
            self.names |= {"localhost", "127.0.0.1", "::1", listens}

    def knows(self, host: str) -> bool:
        """Whether a Host header names the console. Pages of other names could otherwise read it by DNS rebinding."""
        found = _HOST.fullmatch(host)
        return found is not None and found[1].strip("[]").lower() in self.names

    def own(self, origin: str, host: str, scheme: str) -> bool:
        """Whether an Origin header is the console's own."""
        return origin == (self._origin or f"{scheme}://{host}")


class Doors:
    """The order: host, origin, session, roles, page; the headers are on every answer, also on refusals."""

    def __init__(
        self,
        inner: Application,
        hosts: Hosts,
        sessions: Sessions,
        rights: Rights,
        cookie: str,
    ) -> None:
        """`cookie`: name of the session's cookie."""
        self._inner = inner
        self._hosts = hosts
        self._sessions = sessions
        self._rights = rights
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            nonce = secrets.token_urlsafe(18)
            answer = Answer(send, scope["path"], nonce)
            await self._http(scope, receive, answer)
            await answer.finish()
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        if not self._hosts.knows(headers.get("host", "")):
            await refuse(send, 400, "This host name is not the console's. Set FLEETLOOP_PAGE_HOSTS to add one.")
            return
        if scope["method"] not in SAFE_METHODS and not self._hosts.own(
            headers.get("origin", ""), headers["host"], scope["scheme"]
        ):
            await refuse(send, 403, "This request comes from another site.")
            return
        path = scope["path"]
        session = self._sessions.find(cookie_of(headers, self._cookie))
        if path in OPEN_PATHS:
            await self._inner(scope, receive, send)
            return
        try:
            roles = self._sessions.roles(session) if session is not None else None
        except SessionEndedError:
            roles = None
        except UnavailableError:
            await refuse(send, 503, "The console cannot check now who may use it. Try again in a moment.")
            return
        if session is None or roles is None:
            await self._to_login(scope, send)
            return
        if path in self._rights.pages and not self._rights.may_open(path, roles):
            others = self._rights.open_pages(roles)
            if path == "/" and others:
                await redirect(send, next(iter(others)))
                return
            needed = self._rights.roles_for(path)
            await answer_html(send, 403, refused_page(session.person.name, " or ".join(needed), others))
            return
        if path in self._rights.pages or scope["method"] not in SAFE_METHODS:
            self._sessions.touch(session)
        scope[VISIT] = Visit(session, self._sessions)
        await self._inner(scope, receive, send)

    async def _to_login(self, scope: Scope, send: Send) -> None:
        if scope["path"] in self._rights.pages and scope["method"] == "GET":
            await redirect(send, f"{LOGIN}?next={quote(scope['path'], safe='')}")
        else:
            await refuse(send, 401, "Log in first.")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        host = headers.get("host", "")
        scheme = "https" if scope["scheme"] == "wss" else "http"
        session = self._sessions.find(cookie_of(headers, self._cookie))
        allowed = self._hosts.knows(host) and self._hosts.own(headers.get("origin", ""), host, scheme)
        try:
            allowed = allowed and session is not None and self._sessions.roles(session) is not None
        except (SessionEndedError, UnavailableError):
            allowed = False
        if session is None or not allowed:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        scope[VISIT] = Visit(session, self._sessions)
        await self._inner(scope, lambda: self._until_ended(session, receive), send)

    async def _until_ended(self, session: Session, receive: Receive) -> Message:
        """The next message, or the end of the connection once the session has ended."""
        ended = asyncio.create_task(session.ended.wait())
        received = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({ended, received}, return_when=asyncio.FIRST_COMPLETED)
            if session.ended.is_set():
                return {"type": "websocket.disconnect", "code": 1008}
            message = received.result()
        finally:
            ended.cancel()
            received.cancel()
        if (message.get("text") or "").startswith(_ACTED):
            self._sessions.touch(session)
        return message


class Answer:
    """Adds the headers to an answer, and to a page the nonce that its own scripts need."""

    def __init__(self, send: Send, path: str, nonce: str) -> None:
        self._send = send
        self._path = path
        self._nonce = nonce
        self._start: Message | None = None
        self._body = bytearray()
        self._held = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(key.lower(), value) for key, value in message.get("headers", [])]
            names = {key for key, _ in headers}
            kind = next((value for key, value in headers if key == b"content-type"), b"")
            page_with_scripts = kind.startswith(b"text/html") and self._path not in OPEN_PATHS
            policy = content_policy(self._nonce if page_with_scripts else "")
            fixed = {
                b"content-security-policy": policy.encode(),
                b"x-frame-options": b"DENY",
                b"referrer-policy": b"same-origin",
                b"x-content-type-options": b"nosniff",
                b"permissions-policy": _PERMISSIONS.encode(),
                b"cross-origin-opener-policy": b"same-origin",
                b"cross-origin-resource-policy": b"same-origin",
            }
            if not _STATIC.match(self._path) or b"cache-control" not in names:
                fixed[b"cache-control"] = b"no-cache" if _STATIC.match(self._path) else b"no-store"
            kept = [(key, value) for key, value in headers if key not in fixed]
            message = {**message, "headers": [*kept, *fixed.items()]}
            if page_with_scripts:
                self._start, self._held = message, True
                return
        elif self._held and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > _MOST_HTML:
                raise ValueError("a page is too large")
            if message.get("more_body"):
                return
            await self.finish()
            return
        await self._send(message)

    async def finish(self) -> None:
        """Send a page that was held back."""
        if not self._held or self._start is None:
            return
        self._held = False
        body = _SCRIPT.sub(f'<script nonce="{self._nonce}"'.encode(), bytes(self._body))
        kept = [(key, value) for key, value in self._start["headers"] if key != b"content-length"]
        await self._send({**self._start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})


def content_policy(nonce: str) -> str:
    """The Content-Security-Policy; without a nonce no script runs at all.

    NiceGUI needs 'unsafe-eval' (Vue compiles templates in the browser, and the server's commands are evaluated) and
    inline styles. Inline scripts run only with the nonce of this answer.
    """
    scripts = f"'nonce-{nonce}' 'self' 'unsafe-eval'" if nonce else "'none'"
    styles = "'self' 'unsafe-inline'" if nonce else "'self'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Headers by lower-case name. A host or origin that occurs twice has no value, because either could be meant."""
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        name = key.decode("latin-1").lower()
        if name in found and name in ("host", "origin"):
            found[name] = ""
        elif name in found:
            found[name] += ("; " if name == "cookie" else ", ") + value.decode("latin-1")
        else:
            found[name] = value.decode("latin-1")
    return found


def cookie_of(headers: Mapping[str, str], name: str) -> str:
    """The value of a cookie; empty without it."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


async def refuse(send: Send, status: int, text: str) -> None:
    """A refusal as a page."""
    await answer_html(send, status, page("Refused", f"<p>{text}</p>"))


async def answer_html(send: Send, status: int, html: str) -> None:
    """A whole answer."""
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": html.encode()})


async def redirect(send: Send, target: str) -> None:
    """Send the browser to another of our pages."""
    await send({"type": "http.response.start", "status": 303, "headers": [(b"location", target.encode())]})
    await send({"type": "http.response.body", "body": b""})


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

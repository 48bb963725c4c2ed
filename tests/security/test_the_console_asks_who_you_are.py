"""Every page, file and websocket of the console needs a session, a known host, and its own origin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import HTMLResponse
from tests.unit.fleet_console.visits import Hands

from fleet_console.login.doors import VISIT, Doors, Hosts
from fleet_console.login.people import People
from fleet_console.login.rights import PAGES, Rights
from fleet_console.login.routes import LoginParts, add_login, session_cookie
from fleet_console.login.sessions import Sessions
from fleet_console.settings import FleetConsoleSettings
from fleetloop.domain.access import load_access
from fleetloop.kit.security.admission import AdmissionList, admit, revoke, set_roles
from fleetloop.kit.security.identity import Identity, IdentityKind
from fleetloop.kit.security.passwords import LINK_S, Accounts, Links

BASE = "http://127.0.0.1:8080"
OWN = {"origin": BASE}
PASSWORD = "correct horse battery"
COOKIE = session_cookie("")
ANN = Identity("f", IdentityKind.USER, "ann")
NOW = datetime(2026, 11, 28, tzinfo=UTC)
Scope = MutableMapping[str, Any]


class Console:
    """The doors and the login of a console, with one page that says who looks at it."""

    def __init__(self, folder: Path, origin: str = "", roles: tuple[str, ...] = ("labeller",)) -> None:
        self.list = folder / "admission.json"
        admit(self.list, ANN, "1", now=NOW, roles=roles)
        self.accounts = Accounts(folder / "accounts.json")
        self.links = Links(folder / "links")
        self.clock = Hands()
        self.settings = FleetConsoleSettings(
            fleet_id="f", kafka_bootstrap_servers="none:1", accounts=folder / "accounts.json",
            links=folder / "links", page_origin=origin,
        )  # fmt: skip
        policy = load_access(Path("config"))
        rights = Rights(policy)
        people = People("f", AdmissionList(self.list), policy.roles, self.accounts)
        self.sessions = Sessions(people, self.clock, 60, 600)
        application = FastAPI(docs_url=None, openapi_url=None)
        add_login(application, LoginParts(self.settings, self.sessions, people, rights, self.clock, None))
        application.mount("/", self._page)
        hosts = Hosts(origin, "", "127.0.0.1:8080")
        self.doors = Doors(application, hosts, self.sessions, rights, session_cookie(origin))
        self.heard: list[Any] = []

    async def _page(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                self.heard.append(message)
            return
        html = HTMLResponse(f"<script>page</script>{scope[VISIT].name}")
        await html(scope, receive, send)

    def client(self, base: str = BASE) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.doors), base_url=base)

    async def log_in(self, client: httpx.AsyncClient) -> httpx.Response:
        secret = self.links.make("ann", self.clock.ns / 1e9)
        return await client.post("/login/link", data={"secret": secret}, headers=OWN)

    async def websocket(self, token: str, origin: str, host: str = "127.0.0.1:8080") -> Websocket:
        socket = Websocket()
        headers = [(b"host", host.encode()), (b"origin", origin.encode()), (b"cookie", f"{COOKIE}={token}".encode())]
        scope = {"type": "websocket", "scheme": "ws", "path": "/_nicegui_ws/socket.io/", "headers": headers}
        socket.put({"type": "websocket.connect"})
        socket.task = asyncio.create_task(self.doors(scope, socket.receive, socket.send))
        await until(lambda: bool(socket.sent))
        return socket


async def until(held: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not held():
            await asyncio.sleep(0.005)


class Websocket:
    """The browser's end."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.sent: list[str] = []
        self._waiting: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

    def put(self, message: MutableMapping[str, Any]) -> None:
        self._waiting.put_nowait(message)

    async def receive(self) -> MutableMapping[str, Any]:
        return await self._waiting.get()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message["type"])


@pytest.fixture
async def console(tmp_path: Path) -> Console:
    return Console(tmp_path)


@pytest.fixture
async def browser(console: Console) -> AsyncIterator[httpx.AsyncClient]:
    async with console.client() as client:
        yield client


@pytest.mark.parametrize(
    "path", [*PAGES, "/_nicegui/3/static/nicegui.js", "/assets/label.js", "/anything", "/logout"]
)
async def test_without_a_session_nothing_is_served(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert answer.status_code == (303 if path in PAGES else 401)
    assert "page" not in answer.text
    if path in PAGES:
        assert answer.headers["location"].startswith("/login?next=")
    browser.cookies.set(COOKIE, "made-up")
    assert (await browser.get(path)).status_code in (303, 401)


async def test_a_person_sees_pages_of_their_roles_and_is_refused_the_others(
    console: Console, browser: httpx.AsyncClient
) -> None:
    assert (await console.log_in(browser)).status_code == 303
    assert "ann" in (await browser.get("/label")).text
    refused = await browser.get("/triggers")
    assert refused.status_code == 403
    assert "It needs the role lead or ml-engineer" in refused.text
    assert (await browser.get("/")).headers["location"] == "/label"
    set_roles(console.list, ANN, add=["lead"])
    assert (await browser.get("/triggers")).status_code == 200, "roles of the list hold from the next request"
    set_roles(console.list, ANN, remove=["lead", "labeller"])
    assert "Your roles allow none of the pages" in (await browser.get("/label")).text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "a@127.0.0.1"])
async def test_another_hosts_name_gets_nothing(console: Console, browser: httpx.AsyncClient, host: str) -> None:
    await console.log_in(browser)
    answer = await browser.get("/label", headers={"host": host})
    assert answer.status_code == 400
    token = browser.cookies[COOKIE]
    assert (await console.websocket(token, f"http://{host}", host)).sent == ["websocket.close"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "https://127.0.0.1:8080", "http://127.0.0.1"])
async def test_nothing_changes_for_another_origin(console: Console, browser: httpx.AsyncClient, origin: str) -> None:
    await console.log_in(browser)
    for path in ("/logout", "/login", "/login/link", "/_nicegui_ws/socket.io/"):
        assert (await browser.post(path, headers={"origin": origin})).status_code == 403
    assert (await browser.get("/label")).status_code == 200, "still logged in"
    assert (await console.websocket(browser.cookies[COOKIE], origin)).sent == ["websocket.close"]


async def test_a_websocket_needs_a_session_and_ends_with_it(console: Console, browser: httpx.AsyncClient) -> None:
    assert (await console.websocket("made-up", BASE)).sent == ["websocket.close"]
    await console.log_in(browser)
    socket = await console.websocket(browser.cookies[COOKIE], BASE)
    assert socket.sent == ["websocket.accept"]
    revoke(console.list, ANN, now=NOW)
    console.sessions.sweep()
    await asyncio.wait_for(socket.task, 2)
    socket.put({"type": "websocket.receive", "text": '42["event"]'})
    assert console.heard == []


async def test_a_revoked_person_gets_no_websocket_even_before_the_next_check(
    console: Console, browser: httpx.AsyncClient
) -> None:
    await console.log_in(browser)
    good = console.list.read_text()
    console.list.write_text("{")
    assert (await console.websocket(browser.cookies[COOKIE], BASE)).sent == ["websocket.close"], "undecided"
    console.list.write_text(good)
    revoke(console.list, ANN, now=NOW)
    assert (await console.websocket(browser.cookies[COOKIE], BASE)).sent == ["websocket.close"]


async def test_use_keeps_a_session_and_polling_does_not(console: Console, browser: httpx.AsyncClient) -> None:
    await console.log_in(browser)
    socket = await console.websocket(browser.cookies[COOKIE], BASE)
    for said, alive in (('42["event",{}]', True), ('42["ack",{}]', False)):
        console.clock.ns += 40 * 10**9
        socket.put({"type": "websocket.receive", "text": said})
        heard = len(console.heard)
        await until(lambda heard=heard: len(console.heard) > heard)  # type: ignore[misc]
        console.clock.ns += 40 * 10**9
        console.sessions.sweep()
        await asyncio.wait({socket.task}, timeout=0.1 if alive else 10)
        assert socket.task.done() is not alive
    assert (await browser.get("/label")).status_code == 303


async def test_a_session_ends_some_time_after_the_login_however_busy(
    console: Console, browser: httpx.AsyncClient
) -> None:
    await console.log_in(browser)
    seen = []
    for _ in range(16):
        console.clock.ns += 40 * 10**9
        seen.append((await browser.get("/label")).status_code)
    assert seen == [200] * 15 + [303]


@pytest.mark.parametrize("ending", ["logout", "revoked", "password", "everywhere"])
async def test_a_session_that_has_ended_is_worth_nothing(
    console: Console, browser: httpx.AsyncClient, ending: str
) -> None:
    console.accounts.set("ann", PASSWORD)
    form = {"name": "ann", "password": PASSWORD, "next": "/label"}
    entered = await browser.post("/login", data=form, headers=OWN)
    assert entered.headers["location"] == "/label"
    token = browser.cookies[COOKIE]
    assert (await browser.get("/label")).status_code == 200
    if ending == "revoked":
        revoke(console.list, ANN, now=NOW)
    elif ending == "password":
        console.accounts.set("ann", "another long password")
    elif ending == "everywhere":
        async with console.client() as other:
            await console.log_in(other)
            await other.post("/logout", data={"everywhere": "yes"}, headers=OWN)
    else:
        assert "You are logged out" in (await browser.post("/logout", headers=OWN)).text
    browser.cookies.set(COOKIE, token)
    assert (await browser.get("/label")).status_code == 303
    assert (await console.websocket(token, BASE)).sent == ["websocket.close"]


async def test_a_login_never_takes_over_a_token_that_was_there(console: Console, browser: httpx.AsyncClient) -> None:
    browser.cookies.set(COOKIE, "planted-by-an-attacker")
    await console.log_in(browser)
    tokens = [cookie.value for cookie in browser.cookies.jar if cookie.name == COOKIE]
    assert tokens[-1] != "planted-by-an-attacker"
    assert console.sessions.find("planted-by-an-attacker") is None
    async with console.client() as again:
        again.cookies.set(COOKIE, tokens[-1] or "")
        await console.log_in(again)
        assert console.sessions.find(tokens[-1] or "") is None, "the session before the login has ended"


async def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(tmp_path: Path) -> None:
    plain, secure = Console(tmp_path), Console(tmp_path, origin="https://fleet.example.org")
    async with plain.client() as client:
        cookie = (await plain.log_in(client)).headers["set-cookie"]
    assert all(each in cookie for each in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age="))
    async with secure.client("https://fleet.example.org") as client:
        secret = secure.links.make("ann", secure.clock.ns / 1e9)
        origin = {"origin": "https://fleet.example.org"}
        cookie = (await client.post("/login/link", data={"secret": secret}, headers=origin)).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie


async def test_a_link_works_once_within_ten_minutes_and_is_not_spent_by_reading(
    console: Console, browser: httpx.AsyncClient
) -> None:
    secret = console.links.make("ann", console.clock.ns / 1e9)
    for _ in range(2):
        assert "Log in as ann" in (await browser.get("/login/link", params={"secret": secret})).text
    assert (await browser.post("/login/link", data={"secret": secret}, headers=OWN)).status_code == 303
    assert (await browser.post("/login/link", data={"secret": secret}, headers=OWN)).status_code == 403
    late = console.links.make("ann", console.clock.ns / 1e9)
    console.clock.ns += (LINK_S + 1) * 10**9
    assert (await browser.post("/login/link", data={"secret": late}, headers=OWN)).status_code == 403
    for made_up in ("", "../accounts", secret + "x"):
        assert (await browser.post("/login/link", data={"secret": made_up}, headers=OWN)).status_code == 403


async def test_a_person_who_is_not_admitted_cannot_log_in_by_any_way(
    console: Console, browser: httpx.AsyncClient
) -> None:
    console.accounts.set("ann", PASSWORD)
    revoke(console.list, ANN, now=NOW)
    assert (await console.log_in(browser)).status_code == 403
    form = {"name": "ann", "password": PASSWORD}
    assert (await browser.post("/login", data=form, headers=OWN)).status_code == 403
    console.list.write_text("{")
    assert (await console.log_in(browser)).status_code == 503, "undecided is not yes"
    assert COOKIE not in browser.cookies


async def test_no_one_is_let_in_while_the_list_cannot_be_read(console: Console, browser: httpx.AsyncClient) -> None:
    await console.log_in(browser)
    good = console.list.read_text()
    console.list.write_text("{")
    assert (await browser.get("/label")).status_code == 503
    console.list.write_text(good)
    assert (await browser.get("/label")).status_code == 200, "the session was not ended by a file that was damaged"


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "/label?x", "label"])
async def test_a_login_leads_only_to_our_pages(console: Console, browser: httpx.AsyncClient, target: str) -> None:
    console.accounts.set("ann", PASSWORD)
    form = {"name": "ann", "password": PASSWORD, "next": target}
    assert (await browser.post("/login", data=form, headers=OWN)).headers["location"] == "/"


def test_what_is_stored_contains_no_password_and_no_link(tmp_path: Path) -> None:
    console = Console(tmp_path)
    console.accounts.set("ann", PASSWORD)
    secret = console.links.make("ann", 0.0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert PASSWORD not in path.read_text()
        assert secret not in path.read_text() + path.name
    stored = json.loads((tmp_path / "accounts.json").read_text())["accounts"]["ann"]
    assert stored.startswith("scrypt$32768$8$1$")
    assert (tmp_path / "accounts.json").stat().st_mode & 0o077 == 0


@given(st.text(max_size=40))
def test_no_other_host_name_is_known(host: str) -> None:
    name = host.rpartition(":")[0] or host
    known = Hosts("https://fleet.example.org", "", "0.0.0.0:8080").knows(host)
    assert known is (host.lower() == "fleet.example.org") or name.lower() == "fleet.example.org"


@pytest.mark.parametrize("path", ["/login", "/label", "/", "/nothing", "/assets/label.js", "/_nicegui/3/static/x.js"])
@pytest.mark.parametrize("logged_in", [True, False])
async def test_every_answer_has_the_security_headers(
    console: Console, browser: httpx.AsyncClient, path: str, logged_in: bool
) -> None:
    if logged_in:
        await console.log_in(browser)
    headers = (await browser.get(path)).headers
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"):
        assert part in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == ("no-cache" if "static" in path or "assets" in path else "no-store")


async def test_each_answer_has_a_nonce_of_its_own(console: Console, browser: httpx.AsyncClient) -> None:
    await console.log_in(browser)
    seen = set()
    for _ in range(3):
        answer = await browser.get("/label")
        nonce = answer.headers["content-security-policy"].partition("'nonce-")[2].partition("'")[0]
        assert f'<script nonce="{nonce}">page' in answer.text
        seen.add(nonce)
    assert len(seen) == 3
    assert "nonce" not in (await browser.get("/login")).headers["content-security-policy"], "no scripts at the login"

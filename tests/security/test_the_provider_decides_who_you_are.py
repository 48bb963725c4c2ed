"""Login at a real provider: only its signed answer to this browser's own question, once, logs a person in."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from joserfc.jws import JWSRegistry
from tests.keycloak import CLIENT, PASSWORD, SECRET, Keycloak, keycloak
from tests.unit.fleet_console.visits import Hands

from fleet_console.login.doors import Doors, Hosts
from fleet_console.login.people import NotAPersonError, People, claim_at, person_name
from fleet_console.login.provider import LOGIN_S, Provider
from fleet_console.login.rights import Rights
from fleet_console.login.routes import LoginParts, add_login, session_cookie
from fleet_console.login.sessions import Sessions
from fleet_console.settings import FleetConsoleSettings, check_login
from fleetloop.domain.access import load_access
from fleetloop.kit.process.settings import SettingsError
from fleetloop.kit.security.admission import AdmissionList, admit, revoke
from fleetloop.kit.security.identity import Identity, IdentityKind
from fleetloop.kit.security.passwords import Accounts

BASE = "http://127.0.0.1:8080"
COOKIE = session_cookie(BASE)
ROLES = load_access(Path("config")).roles
DAY = datetime(2026, 11, 28, tzinfo=UTC)
pytestmark = pytest.mark.timeout(420)  # Keycloak takes minutes to start on a busy machine


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    with keycloak(tmp_path_factory.mktemp("keycloak")) as running:
        yield running


class Console:
    """A console whose people log in at the provider."""

    def __init__(self, folder: Path, running: Keycloak) -> None:
        variables: dict[str, Any] = {
            name.removeprefix("FLEETLOOP_").lower(): v for name, v in running.settings(BASE).items()
        }
        variables["oidc_groups"] = json.loads(variables["oidc_groups"])
        self.settings = FleetConsoleSettings(
            fleet_id="f", kafka_bootstrap_servers="none:1", accounts=folder / "accounts.json", **variables
        )
        policy = load_access(Path("config"))
        self.list = folder / "admission.json"
        admit(self.list, Identity("f", IdentityKind.USER, "local"), "1", now=DAY, roles=["operator"])
        self.clock, rights = Hands(), Rights(policy)
        people = People("f", AdmissionList(self.list), policy.roles, Accounts(folder / "accounts.json"))
        self.sessions = Sessions(people, self.clock, 60, 600)
        self.provider = Provider(self.settings, self.clock)
        application = FastAPI()
        add_login(application, LoginParts(self.settings, self.sessions, people, rights, self.clock, self.provider))
        self.doors = Doors(application, Hosts(BASE, "", "127.0.0.1:8080"), self.sessions, rights, COOKIE)

    def browser(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.doors), base_url=BASE)


@pytest.fixture
async def console(tmp_path: Path, provider: Keycloak) -> Console:
    return Console(tmp_path, provider)


@pytest.fixture
async def browser(console: Console) -> AsyncIterator[httpx.AsyncClient]:
    async with console.browser() as client:
        yield client


async def begin(browser: httpx.AsyncClient) -> str:
    """The address at the provider to which the console sends the browser."""
    answer = await browser.get("/login/provider")
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


async def at_the_provider(address: str, name: str) -> httpx.URL | None:
    """Log in at the provider; the address to which it sends the browser back, None with a wrong password."""
    async with httpx.AsyncClient(follow_redirects=False, timeout=30) as person:
        form = await person.get(address)
        action = re.search(r'action="([^"]+)"', form.text)
        assert action is not None, form.text[:500]
        given = PASSWORD if not name.startswith("!") else "not this one"
        # Its cookies are for TLS or the local machine, as browsers understand it; httpx sends them only over TLS.
        cookies = "; ".join(each.partition(";")[0] for each in form.headers.get_list("set-cookie"))
        answer = await person.post(
            unescape(action[1]),
            data={"username": name.strip("!"), "password": given},
            headers={"cookie": cookies},
        )
        return httpx.URL(answer.headers["location"]) if answer.status_code == 302 else None


def changed(address: str, **changes: str) -> str:
    parts = urlsplit(str(address))
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return urlunsplit(parts._replace(query=urlencode({k: v for k, v in query.items() if v})))


async def test_a_person_of_a_known_group_gets_its_roles(console: Console, browser: httpx.AsyncClient) -> None:
    address = await begin(browser)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["response_type"] == "code"
    assert all(len(asked[name]) >= 20 for name in ("state", "nonce", "code_challenge"))
    back = await at_the_provider(address, "ann")
    assert back is not None
    entered = await browser.get(str(back))
    assert entered.status_code == 303, entered.text
    session = console.sessions.find(browser.cookies[COOKIE])
    assert session is not None
    assert (session.person.name, console.sessions.roles(session)) == ("ann", ("labeller",))
    refused = await browser.get("/triggers")
    assert (refused.status_code, "ann may not open this page" in refused.text) == (403, True)

    logout = await browser.post("/logout", headers={"origin": BASE})
    assert "/protocol/openid-connect/logout?id_token_hint=" in logout.headers["refresh"]
    assert console.sessions.find(browser.cookies.get(COOKIE) or "") is None


async def test_a_wrong_password_at_the_provider_leads_nowhere(browser: httpx.AsyncClient) -> None:
    assert await at_the_provider(await begin(browser), "ann") is not None
    assert await at_the_provider(await begin(browser), "!ann") is None


async def test_a_person_without_a_known_group_is_refused(browser: httpx.AsyncClient) -> None:
    back = await at_the_provider(await begin(browser), "ben")
    answer = await browser.get(str(back))
    assert (answer.status_code, "no group of ben gives a role" in answer.text) == (403, True)
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize("state", ["", "another-state"])
async def test_an_answer_with_another_state_is_refused(browser: httpx.AsyncClient, state: str) -> None:
    back = await at_the_provider(await begin(browser), "ann")
    assert (await browser.get(changed(str(back), state=state))).status_code == 403
    assert (await browser.get(str(back))).status_code == 403, "the login in progress was spent"


async def test_an_id_token_with_another_nonce_is_refused(browser: httpx.AsyncClient) -> None:
    back = await at_the_provider(changed(await begin(browser), nonce="of-another-login"), "ann")
    answer = await browser.get(str(back))
    assert answer.status_code == 403
    assert COOKIE not in browser.cookies


async def test_a_code_without_our_verifier_is_refused_by_the_provider(browser: httpx.AsyncClient) -> None:
    back = await at_the_provider(changed(await begin(browser), code_challenge="a" * 43), "ann")
    assert (await browser.get(str(back))).status_code == 403


async def test_an_answer_counts_only_in_the_browser_that_asked_and_once(
    console: Console, browser: httpx.AsyncClient
) -> None:
    back = await at_the_provider(await begin(browser), "ann")
    async with console.browser() as victim:
        assert (await victim.get(str(back))).status_code == 403, "no one is logged in as somebody else unasked"
        await begin(victim)
        assert (await victim.get(str(back))).status_code == 403
    assert (await browser.get(str(back))).status_code == 303
    assert (await browser.get(str(back))).status_code == 403, "a second time"


async def test_an_answer_that_comes_too_late_is_refused(console: Console, browser: httpx.AsyncClient) -> None:
    back = await at_the_provider(await begin(browser), "ann")
    console.clock.ns += (LOGIN_S + 1) * 10**9
    assert (await browser.get(str(back))).status_code == 403


async def test_an_answer_of_another_issuer_is_refused(browser: httpx.AsyncClient) -> None:
    back = await at_the_provider(await begin(browser), "ann")
    assert back is not None
    assert "iss" in dict(back.params)
    assert (await browser.get(changed(str(back), iss="https://evil.example"))).status_code == 403


async def test_who_is_revoked_or_has_a_local_account_cannot_come_by_the_provider(
    console: Console, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    ann = Identity("f", IdentityKind.USER, "ann")
    admit(console.list, ann, "1", now=DAY, roles=[])
    back = await at_the_provider(await begin(browser), "ann")
    assert (await browser.get(str(back))).status_code == 303
    token = browser.cookies[COOKIE]
    revoke(console.list, ann, now=DAY)
    console.sessions.sweep()
    assert console.sessions.find(token) is None
    back = await at_the_provider(await begin(browser), "ann")
    assert "was revoked" in (await browser.get(str(back))).text
    Accounts(tmp_path / "accounts.json").set("ola", "a password of her own")
    back = await at_the_provider(await begin(browser), "ola")
    assert "has a local account" in (await browser.get(str(back))).text


class Forger:
    """A provider on this machine whose ID tokens are made as a test says; everything else it does correctly."""

    def __init__(self) -> None:
        self.own, self.others = (RSAKey.generate_key(parameters={"kid": "own"}) for _ in range(2))
        self.shared = OctKey.import_key(SECRET, {"kid": "shared"})
        self.header: dict[str, str] = {"alg": "RS256", "kid": "own"}
        self.key: RSAKey | OctKey = self.own
        self.claims: dict[str, object] = {}
        self.nonce = ""
        self.issuer = ""

    async def metadata(self, request: web.Request) -> web.Response:
        found: dict[str, object] = {
            name: f"{self.issuer}/{path}"
            for name, path in (("authorization_endpoint", "ask"), ("token_endpoint", "token"), ("jwks_uri", "keys"))
        }
        found["id_token_signing_alg_values_supported"] = ["RS256", "HS256", "none"]
        return web.json_response({"issuer": self.issuer, **found})

    async def keys(self, request: web.Request) -> web.Response:
        # A provider that lists a shared secret lets anyone sign who knows it.
        return web.json_response({"keys": [self.own.as_dict(private=False), self.shared.as_dict()]})

    async def token(self, request: web.Request) -> web.Response:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 60, "nonce": self.nonce,
            "preferred_username": "ann", "groups": ["labelling-team"],
        } | self.claims  # fmt: skip
        signed = jwt.encode(
            self.header, {k: v for k, v in claims.items() if v is not None}, self.key,
            registry=JWSRegistry(algorithms=["RS256", "HS256", "none"]),
        )  # fmt: skip
        return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": signed})


@pytest.fixture
async def forger() -> AsyncIterator[Forger]:
    made, application = Forger(), web.Application()
    application.add_routes(
        [
            web.get("/.well-known/openid-configuration", made.metadata),
            web.get("/keys", made.keys),
            web.post("/token", made.token),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def status_of_login(forger: Forger, folder: Path) -> int:
    console = Console(folder, Keycloak(forger.issuer))
    async with console.browser() as browser:
        asked = parse_qs(urlsplit(await begin(browser)).query)
        forger.nonce = asked["nonce"][0]
        back = urlencode({"code": "c", "state": asked["state"][0]})
        entered = await browser.get(f"/login/callback?{back}")
        assert (COOKIE in browser.cookies) is (entered.status_code == 303)
        return entered.status_code


async def test_the_forger_logs_a_person_in_when_it_forges_nothing(forger: Forger, tmp_path: Path) -> None:
    assert await status_of_login(forger, tmp_path) == 303


async def test_any_answer_spends_the_login_even_if_the_browser_keeps_its_cookie(
    forger: Forger, tmp_path: Path
) -> None:
    async with Console(tmp_path, Keycloak(forger.issuer)).browser() as browser:
        asked = parse_qs(urlsplit(await begin(browser)).query)
        forger.nonce = asked["nonce"][0]
        kept = {"cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
        for state in ("of-another-login", asked["state"][0]):
            browser.cookies.clear()
            back = urlencode({"code": "c", "state": state})
            assert (await browser.get(f"/login/callback?{back}", headers=kept)).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"key": "others"},
        {"header": {"alg": "none", "kid": "own"}},
        {"header": {"alg": "HS256", "kid": "shared"}, "key": "shared"},
        {"claims": {"aud": "another-client"}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"exp": 1}},
        {"claims": {"exp": None}},
        {"claims": {"nonce": "of-another-login"}},
        {"claims": {"nonce": None}},
        {"claims": {"sub": None}},
    ],
    ids=str,
)
async def test_a_forged_id_token_is_refused(forger: Forger, tmp_path: Path, change: dict[str, Any]) -> None:
    keys: dict[str, RSAKey | OctKey] = {"others": forger.others, "shared": forger.shared}
    forger.key = keys.get(change.get("key", ""), forger.own)
    forger.header, forger.claims = change.get("header", forger.header), change.get("claims", {})
    assert await status_of_login(forger, tmp_path) == 403


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        ({"preferred_username": "ann"}, None),
        ({"preferred_username": "ann@example.org"}, None),
        ({}, "gave no preferred_username"),
        ({"preferred_username": 7}, "gave no"),
        ({"preferred_username": ["ann"]}, "gave no"),
        ({"preferred_username": "ann-at-example.org"}, "cannot be a name"),
        ({"preferred_username": "a b"}, "cannot be a name"),
        ({"preferred_username": "../ann"}, "cannot be a name"),
        ({"preferred_username": "ann\n"}, "cannot be a name"),
        ({"preferred_username": "a@b@c"}, "cannot be a name"),
        ({"preferred_username": "x" * 64}, "cannot be a name"),
    ],
)
def test_a_claim_is_a_name_or_refused(claims: dict[str, object], refused: str | None) -> None:
    if refused is None:
        assert person_name(claims, "preferred_username")
        return
    with pytest.raises(NotAPersonError, match=refused):
        person_name(claims, "preferred_username")


def test_an_address_counts_only_when_the_provider_has_verified_it() -> None:
    assert person_name({"email": "a@b.c", "email_verified": True}, "email") == "a-at-b.c"
    for verified in ({}, {"email_verified": False}, {"email_verified": "true"}):
        with pytest.raises(NotAPersonError, match="has not verified"):
            person_name({"email": "a@b.c", **verified}, "email")


def test_dots_lead_into_claims_and_other_shapes_give_no_roles(tmp_path: Path) -> None:
    assert claim_at({"realm_access": {"roles": ["x"]}}, "realm_access.roles") == ["x"]
    people = People("f", AdmissionList(tmp_path / "none"), ROLES, None)
    for groups in ("labelling-team", {"labelling-team": 1}, [["labelling-team"]], [None], 7, None):
        with pytest.raises(NotAPersonError, match="gives a role"):
            people.by_claims({"n": "ann", "g": groups}, "n", "g", {"labelling-team": ["labeller"]})


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"oidc_groups": {"a": ("king",)}}, "king"),
        ({"oidc_groups": {}}, "OIDC_GROUPS"),
        ({"page_origin": ""}, "PAGE_ORIGIN"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_start(more: dict[str, object], named: str) -> None:
    given: dict[str, object] = {
        "oidc_issuer": "https://login.example.org", "oidc_client_id": "c", "page_origin": "https://fleet.example.org",
        "oidc_groups": {"a": ("labeller",)},
    }  # fmt: skip
    settings = FleetConsoleSettings(kafka_bootstrap_servers="none:1", **{**given, **more})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=named):
        check_login(settings, ROLES)

"""Login in a real browser: at a real provider, with a password, and what an ended session leaves on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.browser.test_console import Page
from tests.keycloak import PASSWORD, keycloak

from fleetloop.api.console_logins import ConsoleLogins
from fleetloop.api.enrolment import Enrolment
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.embedded.tcp_ports import remembered_ports
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.layout import RunLayout

LOCAL_PASSWORD = "mia's own long password"
PAGES = ("/", "/triggers", "/label")
IDLE_S = 25
pytestmark = pytest.mark.timeout(420)  # Keycloak takes minutes to start on a busy machine


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    """The console with a provider, a local account for mia, and short sessions."""
    folder = tmp_path_factory.mktemp("login")
    port = remembered_ports(RunLayout.at(folder).ports_file, ["fleet_console.page"], Random())["fleet_console.page"]
    with keycloak(tmp_path_factory.mktemp("keycloak")) as provider:
        env = provider.settings(f"http://127.0.0.1:{port}") | {"FLEETLOOP_SESSION_IDLE_S": str(IDLE_S)}
        services = ["label_desk", "fleet_console"]
        with embedded_run(
            folder, now=datetime.now(UTC), services=services, more_env={"fleet_console": env}, ready_within_s=150
        ) as run:
            Enrolment(run.layout, "demo").enrol(
                "mia", kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC)
            )
            ConsoleLogins(run.layout, "demo").set_password("mia", LOCAL_PASSWORD)
            yield run


def fill(browser: webdriver.Chrome, **fields: str) -> None:
    for name, value in fields.items():
        browser.find_element(By.NAME, name).send_keys(value)
    browser.find_element(By.NAME, "password").send_keys(Keys.ENTER)


def test_a_person_of_the_provider_logs_in_sees_their_pages_and_logs_out(
    entered: EmbeddedRun, browser: webdriver.Chrome
) -> None:
    page = Page(browser, entered)
    page.open("/triggers")
    page.until(lambda: page.path().startswith("/login?next="))
    browser.find_element(By.LINK_TEXT, "Log in").click()
    page.until(lambda: "Sign in to your account" in page.text(), 30)
    fill(browser, username="ann", password="a wrong one")
    page.until(lambda: "Invalid username or password" in page.text(), 30)
    fill(browser, password=PASSWORD)
    page.until(lambda: page.path() == "/label" and "ann" in page.text(), 30)
    links = [link.text for link in browser.find_elements(By.CSS_SELECTOR, "nav a")]
    assert links == ["Label"], "a labeller sees no other page"
    page.open("/triggers")
    page.until(lambda: "ann may not open this page" in page.text())
    page.open("/label")
    page.until(lambda: "Log out" in page.text())
    page.click("Log out")
    page.until(lambda: "/protocol/openid-connect/logout" not in browser.current_url and page.path() == "/login", 30)
    page.open("/label")
    page.until(lambda: page.path().startswith("/login?next="))
    browser.find_element(By.LINK_TEXT, "Log in").click()
    page.until(lambda: "Sign in to your account" in page.text(), 30)  # the provider's session has ended too


def test_a_password_logs_in_and_a_wrong_one_does_not(entered: EmbeddedRun, browser: webdriver.Chrome) -> None:
    page = Page(browser, entered)
    page.open("/login")
    fill(browser, name="mia", password="something else")
    page.until(lambda: "The name or the password is wrong." in page.text())
    fill(browser, name="mia", password=LOCAL_PASSWORD)
    page.until(lambda: page.path() == "/label" and "mia" in page.text(), 30)


@pytest.mark.parametrize("ending", ["without use", "revoked"])
def test_an_open_page_goes_to_the_login_when_its_session_ends(
    entered: EmbeddedRun, browser: webdriver.Chrome, ending: str
) -> None:
    page = Page(browser, entered)
    page.log_in("mia")
    page.until(lambda: page.path() == "/label" and "Nothing to label" in page.text(), 30)
    if ending == "revoked":
        Enrolment(entered.layout, "demo").revoke("mia", kind=IdentityKind.USER, now=datetime.now(UTC))
    page.until(lambda: page.path() == "/login?next=%2Flabel", IDLE_S + 25 if ending == "without use" else 15)


def test_every_page_and_file_over_http_has_the_headers_and_no_page_breaks_the_policy(
    entered: EmbeddedRun, browser: webdriver.Chrome
) -> None:
    page = Page(browser, entered)
    page.log_in()
    page.until(lambda: page.path() == "/", 30)
    base = browser.current_url.rstrip("/")
    cookies = {each["name"]: each["value"] for each in browser.get_cookies()}
    files = set()
    for path in PAGES:
        page.open(path)
        page.until(lambda: "Log out" in page.text(), 30)
        asked = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
        files |= {each for each in asked if each.startswith(base) and "socket.io/?" not in each}
    assert len(files) > 10
    assert page.errors() == [], "no violation of the Content-Security-Policy, and nothing refused"
    with httpx.Client(cookies=cookies, timeout=30) as client:
        for address in [*(base + path for path in PAGES), *sorted(files)]:
            answer = client.get(address)
            assert answer.status_code == 200, address
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], address
            assert answer.headers["x-content-type-options"] == "nosniff", address
            assert "server" not in answer.headers, address
    with httpx.Client(timeout=30) as stranger:
        for address in sorted(files):
            expected = 200 if address.endswith(("console.css", "login.css", "favicon.ico")) else 401
            assert stranger.get(address).status_code == expected, address

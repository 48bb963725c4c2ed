"""The console as people use it: a login, answers by keys, undo, "I cannot tell", and services that are away."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime

import grpc
import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from tests.browser.scenes import question
from tests.integration.loop.topics import Topics

from fleetloop.api.console_logins import ConsoleLogins
from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.topics import LABEL
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.rpc import open_channel, speak_for
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.storage.objects import Objects
from fleetloop.layout import LOCAL_USER
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc
from fleetloop.shipped import config_folder

KINDS = ("held", "leaves", "truck", "plain")


class Page:
    """One browser window on the console."""

    def __init__(self, browser: webdriver.Chrome, run: EmbeddedRun) -> None:
        self._browser = browser
        self._run = run
        self._base = f"http://{run.fleet.address('fleet_console', 'page')}"

    def open(self, path: str) -> None:
        self._browser.get(self._base + path)

    def text(self) -> str:
        return str(self._browser.find_element(By.TAG_NAME, "body").text)

    def task(self) -> str:
        """Id of the task on the screen; empty when there is none."""
        found = self._browser.find_elements(By.CSS_SELECTOR, "[data-task]")
        return found[0].get_attribute("data-task") or "" if found else ""

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self._browser).send_keys(key).perform()

    def until(self, held: Callable[[], object], within_s: float = 15) -> None:
        """Waits until it holds; a failure says what the page showed instead."""
        waiting = WebDriverWait(self._browser, within_s, poll_frequency=0.1, ignored_exceptions=[Exception])
        try:
            waiting.until(lambda _: held())
        except TimeoutException as error:
            raise AssertionError(f"not within {within_s} s; {self.path()} shows: {self.text()[:2000]}") from error

    def caption(self) -> str:
        return str(self._browser.find_element(By.CSS_SELECTOR, ".when output").text)

    def shown_pictures(self) -> int:
        """Large pictures that are really drawn: loaded, and wider than they were recorded."""
        script = """return [...document.querySelectorAll('.front.chosen img')]
            .filter(i => i.complete && i.naturalWidth === 32 && i.clientWidth > 200).length"""
        return int(self._browser.execute_script(script))

    def errors(self) -> list[str]:
        entries = self._browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def log_in(self, name: str = LOCAL_USER) -> None:
        """Uses a one-time link, as `fleetloop users link` prints it."""
        self._browser.get(ConsoleLogins(self._run.layout, "").link(name, datetime.now(UTC)))
        self.click(f"Log in as {name}")

    def click(self, text: str) -> None:
        """Clicks the button with this text."""
        self._browser.find_element(By.XPATH, f"//button[normalize-space()='{text}']").click()

    def path(self) -> str:
        """Path of the address, without the host."""
        return self._browser.current_url.removeprefix(self._base)


def tasks_of(run: EmbeddedRun) -> list[Event]:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    objects = Objects(run.layout.objects.as_uri())
    return [question(objects, schema, kind, number) for number, kind in enumerate(KINDS)]


async def labelled(topics: Topics, event: Event) -> label_pb2.SampleLabelled:
    """What the desk said about a task, said once."""
    messages = await topics.read(LABEL, event.key, 1, within_s=20, settle_s=0.5)
    assert len({dict(message.headers)["ce_id"] for message in messages}) == 1
    return label_pb2.SampleLabelled.FromString(messages[0].value)


async def test_a_person_labels_with_keys_takes_back_and_cannot_tell(
    run: EmbeddedRun, browser: webdriver.Chrome
) -> None:
    events = tasks_of(run)
    ids = [event.event_id for event in events]
    topics = Topics(run.fleet)
    await topics.start()
    try:
        await topics.write(*events)
        await asyncio.to_thread(_label, Page(browser, run), run, ids)
        held, leaves, truck = await asyncio.gather(*(labelled(topics, event) for event in events[:3]))
    finally:
        await topics.stop()
    assert dict(held.answers) == {"stop_sign": "held"}
    assert (leaves.outcome, dict(leaves.answers)) == (label_pb2.LABEL_OUTCOME_CANNOT_TELL, {})
    assert dict(truck.answers) == {"stop_sign": "on_vehicle"}
    for answer in (held, leaves, truck):
        assert [(vote.author, vote.source) for vote in answer.votes] == [("ann.lee", label_pb2.LABEL_SOURCE_HUMAN)]


def _label(page: Page, run: EmbeddedRun, ids: list[str]) -> None:
    Enrolment(run.layout, run.fleet.fleet_id).enrol(
        "ann.lee", kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC)
    )
    page.log_in("ann.lee")
    page.until(lambda: page.path() == "/label")
    page.until(lambda: page.task() == ids[0], 30)
    assert "Is there a stop sign ahead" in page.text()
    assert "braked, took over" in page.text()
    page.until(lambda: page.shown_pictures() == 3)

    assert page.caption() == "The trigger's moment"
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.caption() == "1.0 s before the moment"
    page.press("m")
    assert page.caption() == "The trigger's moment"

    page.press("3")  # held, with no click before: keys work at once
    page.until(lambda: page.task() == ids[1])
    page.press("1")  # a slip: plain
    page.until(lambda: page.task() == ids[2])
    page.press("u")
    page.until(lambda: page.task() == ids[1])
    page.press(Keys.SPACE)  # cannot tell
    page.until(lambda: page.task() == ids[2])

    run.supervisor.kill("label_desk", signal.SIGKILL)
    page.press("5")  # the answer outlives the desk's restart
    page.until(lambda: page.task() == ids[3], 40)
    page.until(lambda: "3\nanswered by you" in page.text())

    page.open("/label")  # the session goes on, and leaving gave the task back
    page.until(lambda: page.task() == ids[3])
    assert "ann.lee" in page.text()
    assert page.errors() == []


def test_the_loops_page_shows_what_is_there_and_names_who_is_away(
    run: EmbeddedRun, browser: webdriver.Chrome
) -> None:
    page = Page(browser, run)
    page.log_in()
    page.until(lambda: "Away:" in page.text() and "Label tasks" in page.text(), 20)
    text = page.text()
    notice = next(line for line in text.splitlines() if line.startswith("Away:"))
    assert "dataset curator" in notice
    assert "label desk" not in notice
    for heading in ("Telemetry", "On the road", "What the vehicles drive with", "The staircase", "Training runs"):
        assert heading in text
    assert "No training run yet." in text
    wide, seen = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= seen, "nothing sticks out to the right"
    assert page.errors() == []


async def test_the_desk_takes_a_name_from_the_console_alone(run: EmbeddedRun) -> None:
    lease, for_ann = label_pb2.LeaseTaskRequest(lease_s=1, project="none"), speak_for("ann.lee", ["labeller"])
    person = run.fleet.credentials()
    async with open_channel(
        "label-desk", run.fleet.address("label_desk"), person.ca, person.cert, person.key
    ) as channel:
        desk = label_pb2_grpc.LabelServiceStub(channel)
        await desk.LeaseTask(lease, timeout=10)
        with pytest.raises(grpc.aio.AioRpcError, match="user/local may speak only for itself"):
            await desk.LeaseTask(lease, timeout=10, metadata=for_ann)
    console = run.layout.identities / "services" / "fleet_console"
    files = [console / name for name in ("ca.pem", "cert.pem", "key.pem")]
    async with open_channel("label-desk", run.fleet.address("label_desk"), *files) as channel:
        desk = label_pb2_grpc.LabelServiceStub(channel)
        await desk.LeaseTask(lease, timeout=10, metadata=for_ann)
        with pytest.raises(grpc.aio.AioRpcError, match="service/fleet-console may not call"):
            await desk.LeaseTask(lease, timeout=10)

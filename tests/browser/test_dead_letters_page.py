"""The page of dead-letter queues on a real Kafka: an operator looks at messages, discards one and retries one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from selenium import webdriver
from selenium.webdriver.common.by import By
from tests.browser.test_console import Page
from tests.integration.loop.topics import Topics

from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.topics import LABEL_TASK
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.security.identity import IdentityKind

UNREADABLE = b"\xff\xfe not a task"


def rows(browser: webdriver.Chrome) -> dict[str, str]:
    """The text of each line of the table by its message."""
    found = [line.text for line in browser.find_elements(By.CSS_SELECTOR, ".console-table tbody tr")]
    return {text.split()[0]: text for text in found if LABEL_TASK in text}


def refreshed(page: Page, browser: webdriver.Chrome) -> int:
    """Ask for the messages; how many the page shows."""
    page.click("Refresh")
    return len(rows(browser))


def choose(page: Page, browser: webdriver.Chrome, message: str) -> None:
    browser.find_element(By.XPATH, f"//td[normalize-space()='{message}']").click()
    page.until(lambda: f"{message}, open" in page.text())


async def test_an_operator_discards_one_message_and_retries_another(
    run: EmbeddedRun, browser: webdriver.Chrome
) -> None:
    topics = Topics(run.fleet)
    await topics.start()
    try:
        for number in range(2):
            await topics._producer.send_and_wait(LABEL_TASK, UNREADABLE, key=b"poison-%d" % number)
    finally:
        await topics.stop()
    await asyncio.to_thread(_handle, Page(browser, run), browser)


def _handle(page: Page, browser: webdriver.Chrome) -> None:
    page.log_in()
    page.until(lambda: page.path() == "/", 30)
    page.open("/dead-letters")
    page.until(lambda: refreshed(page, browser) == 2, 60)
    first, second = sorted(rows(browser))
    assert "label-desk" in rows(browser)[first]

    choose(page, browser, first)
    assert UNREADABLE[:4].hex() in page.text().replace(" ", "")
    page.click("Discard")
    page.until(lambda: "give a reason" in page.text())
    browser.find_element(By.CSS_SELECTOR, "input[aria-label='Reason, recorded with your name']").send_keys("no task")
    page.click("Discard")
    page.until(lambda: f"{first} was discarded." in page.text(), 30)
    page.until(lambda: "discarded by user/local: no task" in rows(browser)[first], 30)

    choose(page, browser, second)
    page.click("Retry")
    page.until(lambda: f"{second} was sent to its topic again." in page.text(), 30)
    page.until(lambda: refreshed(page, browser) == 3, 60)  # it fails again
    assert "retried by user/local" in rows(browser)[second]
    assert page.errors() == []


def test_a_labeller_does_not_see_the_page(run: EmbeddedRun, browser: webdriver.Chrome) -> None:
    Enrolment(run.layout, run.fleet.fleet_id).enrol(
        "lea", kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC)
    )
    page = Page(browser, run)
    page.log_in("lea")
    page.until(lambda: page.path() == "/label" and "Label" in page.text(), 30)
    assert "Dead-letter queues" not in page.text()
    page.open("/dead-letters")
    page.until(lambda: "lea may not open this page. It needs the role operator." in page.text())

"""The page of triggers in a real browser, without a keeper and with one that knows a campaign."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from selenium import webdriver
from tests.browser.test_console import Page

from fleetloop.api.campaigns import apply_files, library_folder, read_triggers
from fleetloop.embedded.run import EmbeddedRun, embedded_run


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    """Only the keeper and the console."""
    services = ["campaign_keeper", "fleet_console"]
    folder = tmp_path_factory.mktemp("triggers")
    with embedded_run(folder, now=datetime.now(UTC), services=services, ready_within_s=120) as running:
        yield running


def test_it_says_so_when_the_keeper_is_away(run: EmbeddedRun, browser: webdriver.Chrome) -> None:
    page = Page(browser, run)
    page.log_in()
    page.open("/triggers")
    page.until(lambda: "Away: campaign keeper (it does not answer)" in page.text(), 60)


def test_it_shows_campaigns_who_approved_them_and_every_trigger(
    keeping: EmbeddedRun, browser: webdriver.Chrome
) -> None:
    library = read_triggers([library_folder()])
    apply_files(keeping.layout.root, library, "hunting", reason="a look at lights")
    page = Page(browser, keeping)
    page.log_in()
    page.open("/triggers")
    page.until(lambda: "hunting: running" in page.text(), 60)
    text = page.text()
    assert "approved by user/local" in text
    assert "a look at lights" in text
    assert "No detector has reported for a minute" in text
    assert [name for name in (t.name.replace("_", " ") for t in library) if f"{name} v1" not in text] == []
    assert page.errors() == []

"""A label desk and the console on a real Kafka, and a real Chromium to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium import webdriver

from fleetloop.embedded.run import EmbeddedRun, embedded_run

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1400,1000",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
UNDO_WINDOW_S = 4


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    """Only the desk and the console: every other service is away, and the pages have to live with it."""
    more = {"label_desk": {"FLEETLOOP_UNDO_WINDOW_S": str(UNDO_WINDOW_S)}}
    services = ["label_desk", "fleet_console"]
    with embedded_run(
        tmp_path_factory.mktemp("console"), now=datetime.now(UTC), services=services, more_env=more, ready_within_s=90
    ) as running:
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A fresh Chromium. Skips with the reason where there is none."""
    chromium = os.environ.get("FLEETLOOP_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with chromedriver here: install the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()

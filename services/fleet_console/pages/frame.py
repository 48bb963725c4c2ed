"""What the pages share: the bar at the top, the style, and the count of open pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from nicegui import ui

from fleet_console.metrics import OPEN_PAGES

ASSETS = "/assets"
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b57c4"/>'
    '<path d="M23 11a8.5 8.5 0 1 0 1.4 6.4" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round"/>'
    '<path d="M24.5 5.5v6.3h-6.3z" fill="#fff"/></svg>'
)
_PAGES = {"/": "The loop", "/triggers": "Triggers", "/label": "Label"}


def add_assets(application: FastAPI) -> None:
    """Serve the style sheet and the scripts."""
    application.mount(ASSETS, StaticFiles(directory=Path(__file__).parent / "assets"), name="assets")


@contextmanager
def frame(path: str, fleet_id: str) -> Iterator[ui.row]:
    """The page around its content; yields the right end of the bar. Elements made inside go below the bar."""
    ui.add_head_html(f'<link rel="stylesheet" href="{ASSETS}/console.css">')
    with ui.element("header").classes("bar"):
        ui.label("fleetloop").classes("brand")
        with ui.element("nav").props('aria-label="Pages"'):
            for target, name in _PAGES.items():
                link = ui.element("a").props(f'href="{target}"')
                if target == path:
                    link.props('aria-current="page"')
                with link:
                    ui.label(name)
        side = ui.row().classes("side")
        with side:
            ui.label(f"fleet {fleet_id}")
    with ui.element("main").classes("sheet"):
        yield side
    OPEN_PAGES.labels(path).inc()
    ui.context.client.on_delete(lambda: OPEN_PAGES.labels(path).dec())


def heading(text: str, level: int = 2) -> None:
    """A heading that screen readers find."""
    with ui.element(f"h{level}"):
        ui.label(text).style("display: inline")

"""What the pages share: the bar at the top, the style, and the count of open pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from nicegui import ui

from fleet_console.login.doors import VISIT
from fleet_console.login.markup import logout_form
from fleet_console.login.rights import Rights
from fleet_console.login.sessions import Visit
from fleet_console.metrics import OPEN_PAGES

ASSETS = "/assets"
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b57c4"/>'
    '<path d="M23 11a8.5 8.5 0 1 0 1.4 6.4" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round"/>'
    '<path d="M24.5 5.5v6.3h-6.3z" fill="#fff"/></svg>'
)


def add_assets(application: FastAPI) -> None:
    """Serve the style sheet and the scripts."""
    application.mount(ASSETS, StaticFiles(directory=Path(__file__).parent / "assets"), name="assets")


@dataclass(frozen=True, slots=True)
class FrameParts:
    """What every page needs."""

    fleet_id: str
    rights: Rights


def visit_of(request: Request) -> Visit:
    """Who opened the page. The doors in front of the pages put it there."""
    visit: Visit = request.scope[VISIT]
    return visit


@contextmanager
def frame(path: str, parts: FrameParts, visit: Visit) -> Iterator[ui.row]:
    """The page around its content; yields the right end of the bar. Elements made inside go below the bar.

    Only pages that the person's roles allow are in the bar. When the session ends, the browser goes to the login.
    """
    roles = visit.sessions.roles(visit.session)
    ui.add_head_html(f'<link rel="stylesheet" href="{ASSETS}/console.css">')
    ui.add_head_html(f'<script defer src="{ASSETS}/session.js"></script>')
    with ui.element("header").classes("bar"):
        ui.label("fleetloop").classes("brand")
        with ui.element("nav").props('aria-label="Pages"'):
            for target, name in parts.rights.open_pages(roles).items():
                link = ui.element("a").props(f'href="{target}"')
                if target == path:
                    link.props('aria-current="page"')
                with link:
                    ui.label(name)
        side = ui.row().classes("side")
        with side:
            ui.label(f"fleet {parts.fleet_id}")
            ui.label(visit.name).props('aria-label="You are"').style("color: var(--ink); font-weight: 600")
            ui.html(logout_form(), sanitize=False)
    with ui.element("main").classes("sheet"):
        yield side
    OPEN_PAGES.labels(path).inc()
    client = ui.context.client
    client.on_delete(lambda: OPEN_PAGES.labels(path).dec())
    visit.session.on_end.append(client.delete)
    client.on_delete(lambda: forget(visit, client.delete))


def forget(visit: Visit, callback: Callable[[], object]) -> None:
    """Call it no longer at the end of the session."""
    if callback in visit.session.on_end:
        visit.session.on_end.remove(callback)


def heading(text: str, level: int = 2) -> None:
    """A heading that screen readers find."""
    with ui.element(f"h{level}"):
        ui.label(text).style("display: inline")

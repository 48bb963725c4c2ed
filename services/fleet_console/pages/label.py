"""The label page: one question at a time, answered with a key."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from nicegui import ui

from fleet_console.desk import Desk
from fleet_console.labelling import Labelling, State
from fleet_console.metrics import LABELLING
from fleet_console.pages.desk import DeskPanels
from fleet_console.pages.frame import ASSETS, frame, heading
from fleet_console.people import COOKIE, NoNameError, cleaned, labeller
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.security.identity import is_person_name

INSTANTS = 15
_REFRESH_S = 1.0
_YEAR_S = 31_536_000


@dataclass(frozen=True, slots=True)
class LabelPageParts:
    """What the page needs."""

    desk_for: Callable[[str], Desk]
    """Gives the desk on behalf of a person."""
    clock: Clock
    fleet_id: str
    lease_s: float
    user_header: str


def add_label_page(parts: LabelPageParts) -> None:
    """Register the page `/label`."""
    answered: dict[str, int] = {}

    @ui.page("/label", title="Label · fleetloop")
    async def label_page(request: Request) -> None:
        with frame("/label", parts.fleet_id) as side:
            try:
                name = labeller(request.headers, request.cookies, parts.user_header)
            except NoNameError as error:
                heading("Label", 1)
                ui.label(str(error)).classes("notice").props("role=alert")
                return
            if name is None:
                _ask_name()
                return
            with side:
                ui.label(name).props('aria-label="You label as"').style("color: var(--ink); font-weight: 600")
                if not parts.user_header:
                    ui.button("Change", on_click=lambda: _set_name(""), color=None).props("flat dense no-caps")
            ui.add_head_html(f'<script defer src="{ASSETS}/label.js"></script>')
            _work(parts, name, answered)


def _work(parts: LabelPageParts, name: str, answered: dict[str, int]) -> None:
    """Everything below the bar, for a person whose name is known."""
    work = Labelling(parts.desk_for(name), parts.lease_s, INSTANTS, lambda: uuid.uuid4().hex)
    work.answered = answered.get(name, 0)

    async def answer(choice: int | None) -> None:
        task_id = work.assignment.task.task_id if work.assignment else ""
        await give(task_id, choice)

    async def give(task_id: str, choice: int | None) -> None:
        if await work.answer(task_id, choice):
            LABELLING.labels("cannot_tell" if choice is None else "answered").inc()
        show()

    async def undo() -> None:
        if await work.undo():
            LABELLING.labels("undone").inc()
        show()

    async def go_on() -> None:
        await work.go_on()
        show()

    async def key(pressed: str, task_id: str) -> None:
        if work.state is State.PAUSED:
            await go_on()
        elif pressed in ("u", "Backspace"):
            await undo()
        elif pressed in ("0", " "):
            await give(task_id, None)
        elif pressed.isdigit():
            await give(task_id, int(pressed) - 1)

    def show() -> None:
        answered[name] = work.answered
        panels.update(work, parts.clock.now_utc_ns())

    async def refresh() -> None:
        await work.refresh(parts.clock.now_utc_ns())
        show()

    panels = DeskPanels(answer, undo, go_on)
    ui.on("console_key", lambda event: key(event.args["key"], event.args["task"]))
    ui.timer(_REFRESH_S, refresh)
    ui.context.client.on_delete(work.leave)


def _ask_name() -> None:
    """Ask for the name once; the browser keeps it."""
    with ui.element("section").classes("panel").style("max-width: 520px; margin: 48px auto"):
        heading("Who labels?", 1)
        ui.label(
            "Your answers are stored under this name, and a task ends once several people agree. "
            "Use the same name every time."
        ).classes("quiet")
        field = ui.input("Your name", placeholder="ann.lee", validation=_problem).props("outlined autofocus")
        field.style("width: 100%").without_auto_validation()

        def start() -> None:
            if field.validate():
                _set_name(cleaned(field.value))

        field.on("keydown.enter", start)
        ui.button("Start labelling", on_click=start, color=None).classes("primary").props("unelevated no-caps")


def _problem(given: str) -> str | None:
    if is_person_name(cleaned(given or "")):
        return None
    return "Begin with a letter or digit; at most 63 letters, digits, dots, hyphens and underscores."


def _set_name(name: str) -> None:
    age = _YEAR_S if name else 0
    cookie = json.dumps(f"{COOKIE}={name}; path=/; max-age={age}; samesite=strict")
    ui.run_javascript(f"document.cookie = {cookie}; window.location.assign('/label')")

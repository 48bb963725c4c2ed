"""The label page: one question at a time, answered with a key."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from nicegui import ui

from fleet_console.desk import Desk
from fleet_console.labelling import Labelling, State
from fleet_console.login.rights import LABEL
from fleet_console.login.sessions import Visit
from fleet_console.metrics import LABELLING
from fleet_console.pages.desk import DeskPanels
from fleet_console.pages.frame import ASSETS, FrameParts, frame, visit_of
from fleetloop.kit.process.clock import Clock

INSTANTS = 15
_REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class LabelPageParts:
    """What the page needs."""

    desk_for: Callable[[Visit], Desk]
    """Gives the desk on behalf of a person."""
    clock: Clock
    lease_s: float
    frame: FrameParts


def add_label_page(parts: LabelPageParts) -> None:
    """Register the page `/label`."""
    answered: dict[str, int] = {}

    @ui.page(LABEL, title="Label · fleetloop")
    async def label_page(request: Request) -> None:
        visit = visit_of(request)
        with frame(LABEL, parts.frame, visit):
            ui.add_head_html(f'<script defer src="{ASSETS}/label.js"></script>')
            _work(parts, visit, answered)


def _work(parts: LabelPageParts, visit: Visit, answered: dict[str, int]) -> None:
    """Everything below the bar."""
    name = visit.name
    work = Labelling(parts.desk_for(visit), parts.lease_s, INSTANTS, lambda: uuid.uuid4().hex)
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

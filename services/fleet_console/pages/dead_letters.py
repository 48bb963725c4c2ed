"""The page of dead-letter queues: messages that services set aside, for operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request
from nicegui import ui

from fleet_console.handling import Handling, HandlingError, details, is_open, row
from fleet_console.login.rights import DEAD_LETTERS
from fleet_console.login.sessions import Visit
from fleet_console.pages.frame import FrameParts, frame, heading, visit_of
from fleet_console.pages.loop import fill, table_of
from fleetloop.domain.dead_letters import DeadLetter

_COLUMNS = {"message": "Message", "when": "Set aside", "service": "Service", "reason": "Reason",
            "attempts": "Attempts", "state": "State", "error": "Error"}  # fmt: skip


def add_dead_letters_page(handling_of: Callable[[Visit], Handling], parts: FrameParts) -> None:
    """Register the page `/dead-letters`."""

    @ui.page(DEAD_LETTERS, title="Dead-letter queues · fleetloop")
    async def dead_letters_page(request: Request) -> None:
        visit = visit_of(request)
        with frame(DEAD_LETTERS, parts, visit):
            panels = _Panels(handling_of(visit))
        ui.timer(0.1, panels.refresh, once=True)


class _Panels:
    """The table, and the message that was chosen."""

    def __init__(self, handling: Handling) -> None:
        self._handling = handling
        self._chosen: DeadLetter | None = None
        heading("Dead-letter queues", 1)
        self._notice = ui.label("Asking Kafka.").classes("notice").props("role=status")
        with ui.element("section").classes("panel"):
            ui.label(
                "Messages that a service could not process. Click one to look at it. A retry sends it to its topic "
                "again, for the service that had set it aside."
            ).classes("quiet")
            self._table = table_of(_COLUMNS, "No message waits in a dead-letter queue.", 25)
            self._table.on("row-click", self._choose, js_handler="(event, row) => emit(row.key)")
            ui.button("Refresh", on_click=self.refresh, color=None).props("unelevated no-caps").classes("act")
        self._panel = ui.element("section").classes("panel").props('aria-label="Chosen message"')
        with self._panel:
            self._title = ui.label().style("font-weight: 650")
            self._facts = ui.element("dl").classes("facts")
            self._reason = ui.input("Reason, recorded with your name").props('outlined maxlength="1000"')
            with ui.row():
                self._retry = ui.button("Retry", on_click=self._do_retry, color=None).props("unelevated no-caps")
                self._discard = ui.button("Discard", on_click=self._do_discard, color=None)
                self._discard.props("unelevated no-caps")
        self._panel.set_visibility(False)

    async def refresh(self) -> None:
        """Ask for the newest messages."""
        try:
            letters = await self._handling.newest()
        except HandlingError as error:
            self._say(f"{error}.")
            return
        fill(self._table, [row(letter) for letter in letters])
        waiting = sum(1 for letter in letters if is_open(letter))
        self._say("" if waiting == len(letters) else f"{waiting} of {len(letters)} messages wait for a decision.")

    async def _choose(self, event: object) -> None:
        try:
            self._chosen = await self._handling.get(str(getattr(event, "args", "")))
        except HandlingError as error:
            self._say(f"{error}.")
            return
        self._show(self._chosen)

    def _show(self, letter: DeadLetter) -> None:
        self._title.set_text(f"{letter.id}, {letter.state.value}")
        self._facts.clear()
        with self._facts:
            for name, value in details(letter).items():
                with ui.element("dt"):
                    ui.label(name)
                with ui.element("dd"):
                    ui.label(value).style("overflow-wrap: anywhere; font-variant-numeric: tabular-nums")
        self._reason.set_value("")
        self._retry.set_enabled(is_open(letter))
        self._discard.set_enabled(is_open(letter))
        self._panel.set_visibility(True)

    async def _do_retry(self) -> None:
        await self._decide(self._handling.retry, "was sent to its topic again")

    async def _do_discard(self) -> None:
        await self._decide(self._handling.discard, "was discarded")

    async def _decide(self, act: Callable[[str, str], Awaitable[None]], done: str) -> None:
        if self._chosen is None:
            return
        where = str(self._chosen.id)
        try:
            await act(where, str(self._reason.value or ""))
        except HandlingError as error:
            self._say(f"{where}: {error}.")
            return
        self._panel.set_visibility(False)
        await self.refresh()
        self._say(f"{where} {done}.")

    def _say(self, text: str) -> None:
        self._notice.set_text(text)
        self._notice.set_visibility(bool(text))

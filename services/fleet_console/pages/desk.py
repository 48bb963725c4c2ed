"""The elements of the label page: the question with its pictures, the answers with their keys, and the counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from fleet_console.labelling import Labelling, State
from fleet_console.pages.frame import heading
from fleet_console.pages.pictures import pictures_html
from fleet_console.wording import duration, number, words
from fleetloop.kit.process.clock import ns_to_seconds, utc_second
from fleetloop.protos.label.v1 import label_pb2

_HURRY_S = 60
_KEYED = 9
"""Choices that have a number key."""
Act = Callable[[], Awaitable[None]]


class DeskPanels:
    """Made once per page; shows the current task."""

    def __init__(self, answer: Callable[[int | None], Awaitable[None]], undo: Act, go_on: Act) -> None:
        self._answer = answer
        self._shown = ""
        self._warning = ui.label().classes("notice").props("role=alert")
        with ui.element("div").classes("desk"):
            with ui.element("section").classes("panel").props('aria-label="Question"'):
                self._task = ui.element("div").style("display: contents")
                self._blank = ui.element("div").classes("blank")
                with self._blank:
                    self._blank_title = ui.label().classes("big")
                    self._blank_text = ui.label().classes("quiet")
                    self._go_on = _button("Enter", "Go on", go_on).classes("primary")
            with ui.element("aside").style("display: flex; flex-direction: column; gap: 18px; min-width: 0"):
                self._answers = ui.element("section").classes("panel answers").props('aria-label="Answers"')
                with ui.element("section").classes("panel"):
                    with ui.element("div").classes("tally"):
                        self._open = _tally("open for all")
                        self._mine = _tally("answered by you")
                    self._undo = _button("u", "Undo the last answer", undo).classes("act")
                    self._message = ui.label().classes("quiet said").props("role=status aria-live=polite")
                    self._hurry = ui.label().classes("quiet")
                self._why = ui.element("section").classes("panel")

    def update(self, work: Labelling, now_utc_ns: int) -> None:
        """Show the state; rebuild the question only when the task changed."""
        self._warning.set_text(work.warning)
        self._warning.set_visibility(bool(work.warning))
        self._message.set_text(work.message)
        self._open.set_text(number(work.open_tasks))
        self._mine.set_text(number(work.answered))
        self._undo.set_enabled(work.can_undo)
        self._hurry.set_text(_hurry(work, now_utc_ns))
        self._hurry.set_visibility(bool(self._hurry.text))
        shown = f"{work.state}/{work.assignment.lease_id}" if work.assignment else work.state.value
        if shown != self._shown:
            self._shown = shown
            self._rebuild(work)

    def _rebuild(self, work: Labelling) -> None:
        self._task.clear()
        self._answers.clear()
        self._why.clear()
        asking = work.assignment is not None
        self._blank.set_visibility(not asking)
        self._answers.set_visibility(asking)
        self._why.set_visibility(asking)
        self._go_on.set_visibility(work.state is State.PAUSED)
        if work.assignment is None:
            title, text = _BLANKS[work.state]
            self._blank_title.set_text(title)
            waits = work.state is State.EMPTY and work.open_tasks > 0
            self._blank_text.set_text(_OTHERS if waits else text)
            return
        question = work.assignment.questions[0]
        with self._task:
            heading(question.text, 1)
            ui.html(pictures_html(work.assignment.task.task_id, work.frames), sanitize=False)
            ui.html(_KEYS, sanitize=False).classes("quiet")
        with self._why:
            heading("Why you are asked")
            _facts(work.assignment.task)
        with self._answers:
            for index, choice in enumerate(question.choices):
                _button(str(index + 1) if index < _KEYED else "", choice.text, partial(self._answer, index))
            _button("0", "I cannot tell", partial(self._answer, None)).props('title="0 or the space bar"')


_KEYS = "<kbd>←</kbd> <kbd>→</kbd> step through the clip, <kbd>m</kbd> goes back to the moment."
_BLANKS = {
    State.STARTING: ("One moment", "Fetching the next task."),
    State.ASKING: ("One moment", "Fetching the next task."),
    State.EMPTY: ("Nothing to label", "There is no task for you now. New tasks appear here by themselves."),
    State.PAUSED: ("Are you still there?", "Your lease on that task expired, so others may get it."),
    State.AWAY: ("The label desk is away", "This page continues by itself as soon as the desk is back."),
}


_OTHERS = "What is still open waits for other people's answers. New tasks appear here by themselves."


def _button(key: str, text: str, act: Act) -> ui.button:
    """A button that shows its key."""
    button = ui.button(on_click=act, color=None).props("unelevated no-caps")
    with button:
        if key:
            ui.html(f"<kbd>{key}</kbd>", sanitize=False, tag="span")
        ui.label(text)
    return button


def _tally(text: str) -> ui.label:
    with ui.element("div"):
        figure = ui.label("0").classes("figure")
        ui.label(text).classes("quiet")
    return figure


def _hurry(work: Labelling, now_utc_ns: int) -> str:
    """How much time is left, once it is short."""
    if work.assignment is None:
        return ""
    left_s = ns_to_seconds(work.assignment.lease_expires_at_utc_ns - now_utc_ns)
    return f"{duration(left_s)} left for this task." if left_s < _HURRY_S else ""


def _facts(task: label_pb2.LabelTaskCreated) -> None:
    trigger, _, conditions = task.why.partition(": ")
    rows = {
        "Trigger": f"{words(task.provenance.trigger or trigger)} v{task.provenance.trigger_version}",
        "Because": words(conditions) if conditions and conditions != "fired" else "",
        "Vehicle": task.provenance.vehicle_id,
        "Recorded": f"{utc_second(task.moment_utc_ns):%Y-%m-%d %H:%M:%S} UTC",
        "Place": f"{task.place.latitude_deg:.5f}, {task.place.longitude_deg:.5f}" if task.HasField("place") else "",
        "Project": f"{task.project}, for dataset {task.dataset}",
        "Agreement": f"{task.agreement} equal answers end the task"
        if task.agreement > 1
        else "your answer ends the task",
    }
    with ui.element("dl").classes("facts"):
        for name, value in rows.items():
            if value:
                with ui.element("dt"):
                    ui.label(name)
                with ui.element("dd"):
                    ui.label(value)

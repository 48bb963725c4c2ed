"""The loop, live: its stages, what the vehicles drive with, recall by model, and the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fastapi import Request
from nicegui import ui

from fleet_console.login.rights import LOOP
from fleet_console.login.sessions import Visit
from fleet_console.model import DrivenModel, LoopView, Row, Stage
from fleet_console.pages.frame import FrameParts, frame, heading, visit_of
from fleet_console.pages.staircase import StaircasePanel
from fleet_console.wording import number, words
from fleet_console.worker import LoopWatch

_TABLES = {
    "triggers": ("What each trigger earned", "No trigger has fired yet.", {
        "trigger": "Trigger", "fired": "Fired", "waiting": "Clip wanted", "clips": "Clips", "bytes": "Size",
        "tasks": "Tasks", "labelled": "Labelled", "kept": "Kept", "dropped": "Dropped, and why"}),
    "versions": ("Dataset versions", "No dataset version yet.", {
        "version": "Version", "samples": "Samples", "added": "Added", "from": "From", "refused": "Refused",
        "reason": "Reason", "when": "Committed"}),
    "runs": ("Training runs", "No training run yet.", {
        "run": "Run", "state": "State", "dataset": "Dataset", "model": "Model", "why": "Why it ran",
        "reasons": "What the examination said", "when": "Changed"}),
    "rollouts": ("Rollouts", "No model has been rolled out yet.", {
        "model": "Model", "state": "State", "stage": "Stage", "attested": "Attested by", "reasons": "What it says",
        "when": "Since"}),
}  # fmt: skip
_MODELS = {
    "name": "Model",
    "driving": "Drives",
    "shadowing": "Shadows",
    "km": "km",
    "rate": "Interventions per 100 km, 95 %",
}
_ROWS = 8
_LONG = {"dropped", "hunts", "from", "refused", "reason", "why", "reasons"}
_RIGHT = {
    "fired",
    "waiting",
    "clips",
    "bytes",
    "tasks",
    "labelled",
    "kept",
    "samples",
    "added",
    "driving",
    "shadowing",
    "km",
    "rate",
}


def add_loop_page(watch_of: Callable[[Visit], LoopWatch], parts: FrameParts, refresh_s: float) -> None:
    """Register the page `/`."""

    @ui.page(LOOP, title="The loop · fleetloop")
    def loop_page(request: Request) -> None:
        visit = visit_of(request)
        watch = watch_of(visit)
        with frame(LOOP, parts, visit):
            panels = _Panels()
        panels.update(watch.view())
        ui.timer(refresh_s / 2, lambda: panels.update(watch.view()))


class _Panels:
    """The page's elements, made once and updated where something changed."""

    def __init__(self) -> None:
        heading("The loop", 1)
        self._notice = ui.label("Asking the services.").classes("notice").props("role=status")
        self._stages: list[_StageCard] = []
        self._stage_row = ui.element("section").classes("stages").props('aria-label="Stages of the loop"')
        with ui.element("div").classes("halves"):
            with ui.element("section").classes("panel"):
                heading("What the vehicles drive with")
                self._fleet = ui.label().classes("quiet")
                self._models = table_of(_MODELS, "No vehicle has reported yet.")
            self._staircase = StaircasePanel()
        self._tables = {}
        for name, (title, empty, columns) in _TABLES.items():
            with ui.element("section").classes("panel"):
                heading(title)
                self._tables[name] = table_of(columns, empty)

    def update(self, view: LoopView | None) -> None:
        """Show the newest view; None before the first poll."""
        if view is None:
            return
        self._notice.set_text(away_text(view.away))
        self._notice.set_visibility(bool(view.away))
        if not self._stages:
            with self._stage_row:
                self._stages = [_StageCard() for _ in view.stages]
        for card, stage in zip(self._stages, view.stages, strict=True):
            card.update(stage)
        self._fleet.set_text(view.fleet_note)
        fill(self._models, [_model_row(model) for model in view.models])
        self._staircase.update(view.staircase)
        for name, table in self._tables.items():
            fill(table, getattr(view, name))


def away_text(away: Mapping[str, str]) -> str:
    """Which services are away and why; services with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for peer, reason in sorted(away.items()):
        reasons.setdefault(reason, []).append(words(peer))
    told = "; ".join(f"{', '.join(peers)} ({reason})" for reason, peers in reasons.items())
    return f"Away: {told}. The page shows their last answers." if told else ""


class _StageCard:
    def __init__(self) -> None:
        self._card = ui.element("article").classes("stage")
        with self._card:
            self._name = ui.label().classes("name")
            with ui.element("div").classes("figure"):
                self._figure = ui.label().style("display: inline")
                self._unit = ui.label().classes("unit").style("display: inline")
            self._rate = ui.label().classes("rate")
            self._note = ui.label().classes("note")
            self._away = ui.label("away").classes("away")
        self._tone = ""

    def update(self, stage: Stage) -> None:
        self._name.set_text(stage.name)
        self._figure.set_text(stage.figure)
        self._unit.set_text(stage.unit)
        self._rate.set_text(stage.rate)
        self._note.set_text(stage.note)
        self._away.set_visibility(bool(stage.away))
        tone = f"{stage.tone} gone" if stage.away else stage.tone.value
        if tone != self._tone:
            self._card.classes(add=tone, remove=self._tone or None)
            self._tone = tone


def _model_row(model: DrivenModel) -> Row:
    rate = "–"
    if model.per_100km is not None:
        value, low, high = model.per_100km
        rate = f"{value:,.1f} ({low:,.1f} to {high:,.1f})"
    stage_matters = model.stage and (model.driving or model.stage != "released")  # released, and then superseded
    return {
        "key": model.digest,
        "name": f"{model.name} ({model.stage})" if stage_matters else model.name,
        "driving": f"{model.driving} ({model.share:.0%})",
        "shadowing": number(model.shadowing) if model.shadowing else "–",
        "km": number(model.km),
        "rate": rate,
    }


def table_of(columns: dict[str, str], empty: str, rows_a_page: int = _ROWS) -> ui.table:
    """A table without rows yet; `columns` are names with their headings."""
    described = [
        {
            "name": name,
            "label": label,
            "field": name,
            "align": "right" if name in _RIGHT else "left",
            "classes": "long" if name in _LONG else "once",
        }
        for name, label in columns.items()
    ]
    table = ui.table(columns=described, rows=[], row_key="key", pagination={"rowsPerPage": rows_a_page})
    table.classes("console-table").props("flat dense hide-pagination")
    with table.add_slot("no-data"):
        ui.label(empty)
    return table


def fill(table: ui.table, rows: Sequence[Row]) -> None:
    """Update the table only when its rows changed, so that nothing flickers and a chosen page stays."""
    fresh = [dict(row) for row in rows]
    if fresh != table.rows:
        table.rows = fresh
        table.props(remove="hide-pagination") if len(fresh) > _ROWS else table.props("hide-pagination")
        table.update()

"""The terminal output of the demo: one line per step, with the state of the loop below it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from fleetloop.api.models import stage_text
from fleetloop.demo.loop_client import LoopState
from fleetloop.demo.results import DemoResults, Rate, Turn
from fleetloop.protos.training.v1 import training_pb2

SLICES = ("plain", "rare")


class Screen:
    """Show progress as it happens. Without a terminal, print one line per step."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._began_s = time.monotonic()
        self._status: Status | None = None
        self._text = ""
        self._share = 0.0
        self._loop = ""

    def _clock(self) -> str:
        seconds = round(time.monotonic() - self._began_s)
        return f"[dim]{seconds // 60:2d}:{seconds % 60:02d}[/]"

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        self._console.print(f"{self._clock()} {text}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show a step with live progress while it lasts, then print it with its duration."""
        self._text, self._share, began_s = text, 0.0, time.monotonic()
        with self._console.status(text) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None
        self.say(f"{text} [dim]({time.monotonic() - began_s:.0f} s)[/]")

    def progress(self, share: float) -> None:
        """Show which share of the step is done, 0 to 1."""
        self._share = share
        self._refresh()

    def show_loop(self, state: LoopState) -> None:
        """Show the state of the loop in one line."""
        fired = sum(state.firings.values())
        parts = [f"{fired} firings", f"{state.open_tasks} open, {state.ended_tasks} labelled"]
        trained = [version for version in state.versions if not version.frozen]
        if trained:
            parts.append(f"{trained[0].dataset} {trained[0].version} with {trained[0].samples} samples")
        if state.runs:
            run = state.runs[0]
            parts.append(f"{run.run_id} {training_pb2.RunState.Name(run.state).removeprefix('RUN_STATE_').lower()}")
        if state.models:
            newest = max(state.models, key=lambda model: model.sequence)
            parts.append(f"{newest.model_version} {stage_text(newest)}")
        self._loop = " · ".join(parts)
        self._refresh()

    def _refresh(self) -> None:
        if self._status is not None:
            share = f" {100 * self._share:3.0f} %" if self._share else ""
            self._status.update(f"{self._clock()} {self._text}{share}\n      [dim]{self._loop}[/]")

    def show_turn(self, number: int, turn: Turn) -> None:
        """Print the outcome of a turn."""
        self.say(
            f"[bold]turn {number}: {turn.model_version or 'the candidate'} was {turn.outcome.replace('_', ' ')}[/], "
            f"trained on {turn.dataset_version} (+{turn.added} samples)"
        )
        for reason in turn.reasons:
            self._console.print(f"      [dim]{escape(reason)}[/]")

    def show_results(self, results: DemoResults) -> None:
        """Print the table of all turns and the CPU time by process."""
        self._console.print(turns_table(results))
        total = sum(results.cpu_s.values())
        most = sorted(results.cpu_s.items(), key=lambda item: -item[1])
        self._console.print(
            f"{results.wall_s:.0f} s, {total:.0f} CPU-seconds: "
            + ", ".join(f"{name} {seconds:.0f}" for name, seconds in most if seconds >= 1)
        )


def turns_table(results: DemoResults) -> Table:
    """Build the table of results, one column per turn."""
    table = Table("", *(f"turn {number}" for number in range(1, len(results.turns) + 1)), title="The staircase")
    turns = results.turns
    rows: list[tuple[str, Sequence[str]]] = [
        ("model", [turn.model_version for turn in turns]),
        ("outcome", [turn.outcome for turn in turns]),
        ("dataset", [f"{turn.dataset_version} (+{turn.added} = {turn.samples})" for turn in turns]),
        ("by trigger", ["\n".join(f"{k}: {v}" for k, v in turn.by_trigger.items()) for turn in turns]),
        ("labels", ["\n".join(f"{k}: {v}" for k, v in turn.labels_by_source.items()) for turn in turns]),
        ("refused", ["\n".join(f"{k}: {v}" for k, v in turn.refused.items()) or "none" for turn in turns]),
        ("interventions per 100 km before", [rate_text(turn.before) for turn in turns]),
        ("after, same routes", [rate_text(turn.after) for turn in turns]),
        ("trigger to label, s", [lead_text(turn, "label") for turn in turns]),
        ("to dataset, s", [lead_text(turn, "dataset") for turn in turns]),
        ("to model, s", [lead_text(turn, "model") for turn in turns]),
        ("to the last vehicle, s", [lead_text(turn, "last_vehicle") for turn in turns]),
    ]
    slices = sorted({name for turn in turns for name in turn.recall_after})
    rows.extend((f"recall, {name}", [recall_text(turn, name) for turn in turns]) for name in slices)
    for title, cells in rows:
        table.add_row(title, *cells)
    return table


def rate_text(rate: Rate) -> str:
    """Format a rate, for example `41.2 [30.1, 55.0] (42 in 102 km, 24 vehicles)`."""
    value, low, high = rate.per_100km()
    return f"{value:.1f} [{low:.1f}, {high:.1f}] ({rate.interventions} in {rate.km:.0f} km, {rate.vehicles} vehicles)"


def recall_text(turn: Turn, name: str) -> str:
    """Format a slice's recall before and after a turn, with the interval of the latter."""
    before, after = turn.recall_before.get(name), turn.recall_after.get(name)
    text = f"{before[0]:.2f} → " if before else ""
    return text + (f"{after[0]:.2f} [{after[1]:.2f}, {after[2]:.2f}]" if after else "")


def lead_text(turn: Turn, stage: str) -> str:
    """Format the seconds from firing to a stage, or a dash if the stage was not reached."""
    seconds = getattr(turn.lead_time, stage) if turn.lead_time else None
    return "–" if seconds is None else f"{seconds:.0f}"

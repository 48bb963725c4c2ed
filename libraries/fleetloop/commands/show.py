"""The state of a run as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleetloop.supervisor.state import Phase, ServiceStatus

_COLOURS = {
    Phase.READY: "green",
    Phase.DONE: "green",
    Phase.STARTING: "yellow",
    Phase.WAITING: "dim",
    Phase.BACKOFF: "yellow",
    Phase.CRASH_LOOP: "bold red",
    Phase.STOPPING: "yellow",
    Phase.STOPPED: "dim",
}


def services_table(title: str, services: Sequence[ServiceStatus], *, caption: str = "") -> RenderableType:
    """Build the table of services, 80 columns wide, with notes below it."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("service", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("pid", "restarts", "CPU s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ports", no_wrap=True)
    for each in services:
        table.add_row(
            each.name,
            Text(each.phase.value, style=_COLOURS[each.phase]),
            str(each.process.pid) if each.process else "",
            str(each.restarts) if each.restarts else "",
            f"{each.cpu_s:.1f}",
            " ".join(str(port) for port in each.ports.values()),
        )
    notes = [Text(f"{each.name}: {each.note}; see {each.log}") for each in services if each.note]
    return Group(table, *notes, Text(caption, style="dim"))


def services_json(folder: Path, supervised: bool, run_id: str, services: Sequence[ServiceStatus]) -> str:
    """Return the state of a run for programs."""
    document = {
        "up": supervised,
        "folder": str(folder),
        "run_id": run_id,
        "services": [
            {
                "name": each.name,
                "state": each.phase.value,
                "ready": each.ready,
                "pid": each.process.pid if each.process else None,
                "restarts": each.restarts,
                "cpu_s": round(each.cpu_s, 2),
                "ports": dict(each.ports),
                "last_exit": each.last_exit,
                "note": each.note,
                "log": str(each.log),
            }
            for each in services
        ],
    }
    return json.dumps(document, indent=1)

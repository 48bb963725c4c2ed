"""How a run looks on a terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

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


def services_table(title: str, services: Sequence[ServiceStatus], *, caption: str = "") -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name in ("service", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("pid", "restarts", "CPU s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ports")
    table.add_column("note")
    table.add_column("log", overflow="fold")
    for each in services:
        table.add_row(
            each.name,
            Text(each.phase.value, style=_COLOURS[each.phase]),
            str(each.process.pid) if each.process else "",
            str(each.restarts),
            f"{each.cpu_s:.1f}",
            " ".join(f"{name} {port}" for name, port in each.ports.items()),
            Text(each.note),
            each.log.name,
        )
    return table


def services_json(folder: Path, supervised: bool, run_id: str, services: Sequence[ServiceStatus]) -> str:
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

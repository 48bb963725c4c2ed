"""`fleetloop up`, `status`, `down`: run all services on this machine."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from fleetloop.api.console_logins import ConsoleLogins
from fleetloop.api.installation import recorded_run
from fleetloop.commands.options import FLEET, FOLDER, AsJson, Fleet, Folder
from fleetloop.commands.show import services_json, services_table
from fleetloop.embedded.run_specs import build_run_specs
from fleetloop.errors import UserError
from fleetloop.layout import LOCAL_USER, RunLayout
from fleetloop.supervisor.logs import last_lines
from fleetloop.supervisor.processes import cpu_seconds, send
from fleetloop.supervisor.state import Phase, RunState, ServiceStatus
from fleetloop.supervisor.supervisor import Supervisor, clear_leftovers, lock_folder

_DOWN_WITHIN_S = 120.0

Services = Annotated[
    str, typer.Option("--services", help="Only these services, separated by commas; 'none' starts only Kafka.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Run in the background; return when all services are ready.")]
Config = Annotated[Path | None, typer.Option("--config", help="Folder with the configuration files.")]
Within = Annotated[float, typer.Option("--within", help="With --detach: seconds to wait for readiness.")]
Bench = Annotated[bool, typer.Option("--bench", help="Tune Kafka's JVM for throughput instead of a quick start.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, status, down):
        app.command()(command)


def up(
    services: Services = "",
    detach: Detach = False,
    folder: Folder = FOLDER,
    fleet: Fleet = FLEET,
    config: Config = None,
    within_s: Within = 300.0,
    bench: Bench = False,
) -> None:
    """Start Kafka and all services on this machine, and run them until Ctrl-C."""
    layout = RunLayout.at(folder)
    if config is not None and not config.is_dir():
        raise UserError(f"There is no folder {config}.", "Name an existing folder with --config, or omit it.")
    if detach:
        _up_detached(layout, within_s)
        return
    lock = lock_folder(layout)
    clear_leftovers(layout)
    console = Console()
    stop = _signals_into_event()
    with console.status("prepare Kafka and certificates"):
        run_specs = build_run_specs(
            layout,
            now=datetime.now(UTC),
            rng=random.Random(),
            services=_names(services),
            fleet_id=fleet,
            config_dir=config,
            bench=bench,
        )
    supervisor = Supervisor(
        run_specs.specs,
        layout.root,
        info=run_specs.info,
        on_change=None if console.is_terminal else _print_change,
        lock=lock,
    )
    supervisor.start()
    try:
        if "fleet_console_page" in run_specs.info:
            console.print(_how_to_log_in(layout, on_terminal=console.is_terminal), soft_wrap=True, highlight=False)
        if console.is_terminal:
            _watch(console, supervisor, layout, stop)
        else:
            stop.wait()
    finally:
        stop.clear()
        threading.Thread(target=_stop_at_once_on_signal, args=(stop, supervisor), daemon=True).start()
        with console.status("stop all services") if console.is_terminal else ExitStack():
            supervisor.stop()
    console.print(f"All services are stopped. Logs and state are in {layout.root}.")


def status(as_json: AsJson = False, folder: Folder = FOLDER) -> None:
    """Show the services of a run. Exits 0 if all services are ready, 1 otherwise."""
    layout = RunLayout.at(folder)
    state = recorded_run(layout)
    services = [_with_cpu(each) for each in state.services] if state else []
    supervised = state is not None and state.supervised
    if as_json:
        print(services_json(layout.root, supervised, state.run_id if state else "", services))
    elif state is None:
        print(f"No fleet is running in {layout.root}.")
    else:
        caption = f"logs: {os.path.relpath(layout.logs)}/<service>.log"
        if not supervised:
            caption = "The supervisor was killed; `fleetloop down` stops the processes that it left."
        Console().print(services_table(_title(layout, state), services, caption=caption))
    if not (supervised and all(each.ready for each in services)):
        raise typer.Exit(1)


def down(folder: Folder = FOLDER) -> None:
    """Stop a run, including processes that a killed supervisor left."""
    layout = RunLayout.at(folder)
    state = recorded_run(layout)
    if state is None:
        print(f"No fleet is running in {layout.root}.")
        return
    if send(state.supervisor, signal.SIGTERM) and not _wait_until_stopped(layout, state, _DOWN_WITHIN_S):
        send(state.supervisor, signal.SIGKILL)  # its guard stops the rest
        _wait_until_stopped(layout, state, 10.0)
    with lock_folder(layout):
        left = clear_leftovers(layout)
    print(f"The run in {layout.root} is stopped" + (f"; {left} left-over processes were killed." if left else "."))


def _up_detached(layout: RunLayout, within_s: float) -> None:
    lock_folder(layout).close()
    log = layout.logs / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [each for each in sys.argv[1:] if each != "--detach"]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "fleetloop", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            said = "\n".join(last_lines(log, 6)).removeprefix("error: ")
            raise UserError(f"The run did not start: {said}", f"See {log}.")
        state = recorded_run(layout)
        if state is not None and state.supervisor.pid == child.pid and state.services:
            if all(each.ready for each in state.services):
                print(f"{len(state.services)} processes are ready in {layout.root}; `fleetloop down` stops them.")
                if "fleet_console_page" in state.info:
                    print(_how_to_log_in(layout, on_terminal=sys.stdout.isatty()))
                child.returncode = 0  # it keeps running; this only stops Popen from warning about it
                return
            for each in state.services:
                if each.phase is Phase.CRASH_LOOP:
                    raise UserError(
                        f"{each.name} keeps failing: {each.note}.",
                        f"Its log is {each.log}. The other services keep running; `fleetloop down` stops them.",
                    )
        time.sleep(0.1)
    raise UserError(
        f"Not all services are ready after {within_s:g} s.", "See `fleetloop status`; `fleetloop down` stops them."
    )


def _how_to_log_in(layout: RunLayout, *, on_terminal: bool) -> str:
    """Where the console is. The link itself is only for a terminal: an output that is stored must not hold it."""
    where = "" if layout.root == RunLayout.at(FOLDER).root else f" --dir {os.path.relpath(layout.root)}"
    again = f"`fleetloop users link{where}`"
    if not on_terminal:
        return f"{again} prints a link that logs you in to the console once."
    try:
        link = ConsoleLogins(layout, "").link(LOCAL_USER, datetime.now(UTC))
    except UserError as error:
        return f"No link to the console was made: {error}"
    return f"The console, once within ten minutes: {link}\n{again} prints another link."


def _watch(console: Console, supervisor: Supervisor, layout: RunLayout, stop: threading.Event) -> None:
    title = f"fleetloop in {layout.root}"
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(
                services_table(title, supervisor.status(), caption="Ctrl-C stops all services; twice, at once."),
                refresh=True,
            )
            if stop.wait(1.0):
                return


def _print_change(each: ServiceStatus) -> None:
    """Print one line per change, for logs and pipes."""
    if each.phase is Phase.WAITING:
        return
    note = f" ({each.note})" if each.note else ""
    print(f"{datetime.now(UTC):%H:%M:%S} {each.name}: {each.phase.value}{note}", flush=True)


def _signals_into_event() -> threading.Event:
    """Return an event that Ctrl-C, SIGTERM, or the end of the terminal sets."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _stop_at_once_on_signal(stop: threading.Event, supervisor: Supervisor) -> None:
    stop.wait()
    supervisor.stop(hurry=True)


def _names(services: str) -> list[str] | None:
    if services.strip() == "none":
        return []
    return [name for name in services.split(",") if name.strip()] or None


def _wait_until_stopped(layout: RunLayout, state: RunState, within_s: float) -> bool:
    """Return True once the folder's lock is released: the supervisor holds it until all processes have ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            lock_folder(layout).close()
        except UserError:
            time.sleep(0.1)
        else:
            return True
    return not state.supervised


def _with_cpu(each: ServiceStatus) -> ServiceStatus:
    return replace(each, cpu_s=each.cpu_s + cpu_seconds(each.process.pid)) if each.process else each


def _title(layout: RunLayout, state: RunState) -> str:
    kafka = state.info.get("kafka_bootstrap_servers", "?")
    return f"fleet {state.info.get('fleet_id', '?')} in {os.path.relpath(layout.root)}, Kafka at {kafka}"

"""The course of the demo, from start to end. It drives vehicles and watches; the loop turns by itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetloop.api.campaigns import apply_files, read_triggers
from fleetloop.api.console_logins import ConsoleLogins
from fleetloop.api.datasets import import_labelled
from fleetloop.api.enrolment import Enrolment
from fleetloop.demo.loop_client import LoopClient
from fleetloop.demo.plan import MORE_ENV, DemoPlan
from fleetloop.demo.preparation import RECORDED_VEHICLE, enrol_vehicles, export_labelled, vehicle_names, write_config
from fleetloop.demo.recording import send_recorded_drive
from fleetloop.demo.results import DemoResults, recalls, turn_of
from fleetloop.demo.screen import Screen
from fleetloop.demo.vehicles import ChildProcess, DriveResult, TownFleet, start_process
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.errors import UserError
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.layout import LOCAL_USER
from fleetloop.protos.training.v1 import training_pb2

_POLL_S = 1.0


def run_demo(folder: Path, plan: DemoPlan, screen: Screen) -> DemoResults:
    """Run the whole demo in `folder`, which is emptied first.

    Raises UserError if a process ends, a training run fails, or a turn takes longer than the plan allows.
    """
    _clear(folder)
    config = write_config(folder)
    began_s = time.monotonic()
    results = DemoResults()
    with _terminable(), embedded_run(folder, now=datetime.now(UTC), config_dir=config, more_env=MORE_ENV) as run:
        scenario = _Scenario(folder, config, plan, screen, run, results)
        try:
            scenario.run()
        finally:
            scenario.close()
    results.wall_s = time.monotonic() - began_s
    return results


def _clear(folder: Path) -> None:
    """Empty the folder. Raises UserError if it holds anything but an earlier demo."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "config" / "curation.yaml").exists():
        raise UserError(f"{folder} is not empty and holds no earlier demo.", "Name another folder with --dir.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception within the block, so that every process is stopped."""

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Scenario:
    def __init__(
        self, folder: Path, config: Path, plan: DemoPlan, screen: Screen, run: EmbeddedRun, results: DemoResults
    ) -> None:
        self._folder = folder
        self._config = config
        self._plan = plan
        self._screen = screen
        self._run = run
        self._results = results
        self._loop = LoopClient(run.fleet)
        self._fleet = TownFleet(plan, run.fleet, folder, config)
        self._children: list[ChildProcess] = []
        self._onward = 0
        self._driving_s = 0.0

    def run(self) -> None:
        """Run all steps in order."""
        screen, plan = self._screen, self._plan
        screen.say(f"all services are up in {self._folder}; the console is at {self._console()}")
        self._say_how_to_log_in()
        apply_files(self._folder, read_triggers([self._config / "triggers"]), reason="the demo's triggers")
        names = [RECORDED_VEHICLE, *vehicle_names(plan)]
        enrol_vehicles(self._run.layout, self._run.fleet.fleet_id, names, self._folder / "vehicles")
        with screen.step("make and import labelled plain cases and a frozen test set"):
            plain, test = export_labelled(self._folder, self._config, plan)
            import_labelled(self._folder, "town-test", test, "frozen test set of every slice", frozen=True)
            import_labelled(self._folder, "town", plain, "plain cases", frozen=False)
        with screen.step("send the recorded drive through gateway, detector and archive"):
            self._results.recorded_drive = send_recorded_drive(
                plan, self._run.fleet, self._folder, self._config, self._loop
            )
        screen.say(f"recorded drive: {self._results.recorded_drive}")
        self._fleet.start()
        self._start_labellers()
        self._first_model()
        before = self._measure("measured-1")
        for number in range(1, plan.turns + 1):
            self._turn(number)
            state = self._loop.state()
            after = self._measure(f"measured-{number + 1}")
            turn = turn_of(state, before, after)
            self._results.turns.append(turn)
            screen.show_turn(number, turn)
            before = after
        self._add_costs()

    def _console(self) -> str:
        return f"http://{self._run.fleet.address('fleet_console', 'page')}"

    def _say_how_to_log_in(self) -> None:
        """The link itself is only for a terminal: an output that is stored must not hold it."""
        again = f"`fleetloop users link --dir {os.path.relpath(self._folder)}`"
        if not sys.stdout.isatty():
            self._screen.say(f"{again} prints a link that logs you in to the console once")
            return
        link = ConsoleLogins(self._run.layout, self._run.fleet.fleet_id).link(LOCAL_USER, datetime.now(UTC))
        self._screen.say(f"log in once within ten minutes: {link}")
        self._screen.say(f"{again} prints another link")

    def _start_labellers(self) -> None:
        if self._plan.label_myself:
            self._screen.say(f"you are the labeller: {self._console()}/label")
            return
        people = self._folder / "labellers"
        enrolment = Enrolment(self._run.layout, self._run.fleet.fleet_id)
        for number in range(1, self._plan.labellers + 1):
            name = f"labeller-{number}"
            enrolment.enrol(
                name, kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC), out=people / name
            )
        arguments = [
            "fleetloop.demo.labellers",
            *("--desk", self._run.fleet.address("label_desk")),
            *("--identities", str(people)),
            *("--truth", *map(str, self._fleet.truth_files)),
            *("--wrong", str(self._plan.wrong_answers)),
            *("--seed", str(self._plan.seed)),
        ]
        self._children.append(start_process("labellers", arguments, self._folder / "logs"))

    def _first_model(self) -> None:
        with self._screen.step("train, evaluate and release the first model, on plain cases only"):
            deadline = time.monotonic() + self._plan.turn_within_s
            while not (state := self._loop.state()).rollouts:
                self._check(deadline, "the first model")
                self._screen.show_loop(state)
                evaluated = [run for run in state.runs if run.state == training_pb2.RUN_STATE_EVALUATED]
                if evaluated and evaluated[0].verdict != training_pb2.VERDICT_PASSED:
                    raise UserError(
                        f"The first model was rejected: {'; '.join(evaluated[0].reasons)}",
                        "Without a model there is no loop; another --seed may help.",
                    )
                time.sleep(_POLL_S)
        self._results.first_model = recalls(state.runs[0].metrics)

    def _measure(self, name: str) -> DriveResult:
        """Let all vehicles drive the measured routes with their current model."""
        with self._screen.step(f"drive the measured routes with {self._plan.vehicles} vehicles"):
            return self._drive(name, self._plan.measured_s, self._plan.measured_seed)

    def _drive(self, name: str, seconds: float, seed: int) -> DriveResult:
        began_s = time.monotonic()
        driven = self._fleet.drive(name, seconds, seed, self._on_progress)
        self._driving_s += time.monotonic() - began_s
        self._results.drives.append(driven)
        return driven

    def _on_progress(self, share: float) -> None:
        self._screen.progress(share)
        self._screen.show_loop(self._loop.state())
        for child in self._children:
            child.measure()

    def _turn(self, number: int) -> None:
        """Let the vehicles drive until the turn is over, whatever its outcome.

        They pause while a model is trained and no candidate waits for their reports: training needs both cores.
        """
        deadline = time.monotonic() + self._plan.turn_within_s
        with self._screen.step(f"turn {number} of the loop, while the vehicles drive"):
            while not (state := self._loop.state()).turn_is_over(number):
                self._check(deadline, f"turn {number}")
                self._screen.show_loop(state)
                if state.only_trains():
                    time.sleep(_POLL_S)
                    continue
                self._onward += 1
                self._drive(f"onward-{self._onward}", self._plan.onward_s, self._plan.onward_seed + self._onward)

    def _check(self, deadline_s: float, what: str) -> None:
        """Raise UserError if a process has ended, a run has failed, or the deadline has passed."""
        for child in self._children:
            if child.process.poll() is not None:
                raise UserError(
                    f"{child.name} ended with {child.process.returncode}.",
                    f"The log is {self._folder / 'logs' / (child.name + '.log')}.",
                )
        if time.monotonic() > deadline_s:
            raise UserError(
                f"{what} has not ended after {self._plan.turn_within_s:.0f} s.",
                f"See `fleetloop status --dir {self._folder}` and the logs in {self._folder / 'logs'}.",
            )
        failed = [run for run in self._loop.runs() if run.state == training_pb2.RUN_STATE_FAILED]
        if failed:
            raise UserError(f"{failed[0].run_id} failed: {'; '.join(failed[0].reasons)}", "See its job.log.")

    def _add_costs(self) -> None:
        cpu: dict[str, Any] = dict(self._run.supervisor.cpu_seconds())
        for child in (*self._children, *self._fleet.processes):
            cpu[child.name] = child.measure()
        self._results.cpu_s = cpu
        simulated_s = sum(driven.seconds * self._plan.vehicles for driven in self._results.drives)
        self._results.simulated_rate = simulated_s / self._driving_s if self._driving_s else 0.0

    def close(self) -> None:
        """Stop the processes that the demo started in addition to the services."""
        for child in self._children:
            child.end()
        self._fleet.stop()
        self._loop.close()

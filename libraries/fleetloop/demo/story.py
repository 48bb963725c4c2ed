"""The demo from its first line to its last. It drives vehicles and watches; the loop turns by itself."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetloop.commands.datasets import import_labelled
from fleetloop.commands.triggers import apply_files, read_triggers
from fleetloop.demo.account import Account, recalls, turn_of
from fleetloop.demo.plan import MORE_ENV, DemoPlan
from fleetloop.demo.recording import send_recorded_drive
from fleetloop.demo.screen import Screen
from fleetloop.demo.setting import RECORDED_VEHICLE, enrol_vehicles, export_labelled, vehicle_names, write_config
from fleetloop.demo.vehicles import Driven, Helper, TownFleet, start_process
from fleetloop.demo.watch import LoopWatch
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.errors import UserError
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority
from fleetloop.protos.training.v1 import training_pb2

_POLL_S = 1.0


def run_demo(folder: Path, plan: DemoPlan, screen: Screen) -> Account:
    """The whole demo in `folder`, which is made anew. Returns what it came to; raises UserError when it is stuck."""
    _clear(folder)
    config = write_config(folder)
    began_s = time.monotonic()
    account = Account()
    with _terminable(), embedded_run(folder, now=datetime.now(UTC), config_dir=config, more_env=MORE_ENV) as run:
        story = _Story(folder, config, plan, screen, run, account)
        try:
            story.tell()
        finally:
            story.close()
    account.wall_s = time.monotonic() - began_s
    return account


def _clear(folder: Path) -> None:
    """Makes the folder anew. Raises UserError where it holds something else than an earlier demo."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "config" / "curation.yaml").exists():
        raise UserError(f"{folder} is not empty and holds no earlier demo.", "Name another folder with --dir.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turns SIGTERM into leaving the block, so that nothing is left behind."""

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Story:
    def __init__(
        self, folder: Path, config: Path, plan: DemoPlan, screen: Screen, run: EmbeddedRun, account: Account
    ) -> None:
        self._folder = folder
        self._config = config
        self._plan = plan
        self._screen = screen
        self._run = run
        self._account = account
        self._watch = LoopWatch(run.fleet)
        self._fleet = TownFleet(plan, run.fleet, folder, config)
        self._helpers: list[Helper] = []
        self._onward = 0
        self._driving_s = 0.0

    def tell(self) -> None:
        """Everything, in order."""
        screen, plan = self._screen, self._plan
        screen.say(f"all services are up in {self._folder}; the console is at {self._console()}")
        apply_files(self._folder, read_triggers([self._config / "triggers"]), reason="the demo's triggers")
        names = [RECORDED_VEHICLE, *vehicle_names(plan)]
        enrol_vehicles(self._run.layout, self._run.fleet.fleet_id, names, self._folder / "vehicles")
        with screen.step("labelled plain cases and a frozen test set are made and imported"):
            plain, test = export_labelled(self._folder, self._config, plan)
            import_labelled(self._folder, "town-test", test, "frozen test set of every slice", frozen=True)
            import_labelled(self._folder, "town", plain, "plain cases", frozen=False)
        with screen.step("the recorded drive goes through gateway, detector and archive"):
            self._account.recorded_drive = send_recorded_drive(
                plan, self._run.fleet, self._folder, self._config, self._watch
            )
        screen.say(f"recorded drive: {self._account.recorded_drive}")
        self._fleet.start()
        self._start_labellers()
        self._first_model()
        before = self._measure("measured-1")
        for number in range(1, plan.turns + 1):
            self._turn(number)
            glance = self._watch.glance()
            after = self._measure(f"measured-{number + 1}")
            turn = turn_of(glance, before, after)
            self._account.turns.append(turn)
            screen.show_turn(number, turn)
            before = after
        self._settle_accounts()

    def _console(self) -> str:
        return f"http://{self._run.fleet.address('fleet_console', 'page')}"

    def _start_labellers(self) -> None:
        if self._plan.label_myself:
            self._screen.say(f"you are the labeller: {self._console()}/label")
            return
        authority = CertificateAuthority.open(
            self._run.layout.identities / "authority", fleet=self._run.fleet.fleet_id, now=datetime.now(UTC)
        )
        people = self._folder / "labellers"
        for number in range(1, self._plan.labellers + 1):
            name = f"labeller-{number}"
            issued = authority.issue(IdentityKind.USER, name, people / name, now=datetime.now(UTC))
            for source, target in ((issued.ca, "ca.pem"), (issued.cert, "cert.pem"), (issued.key, "key.pem")):
                if source != people / name / target:
                    shutil.copyfile(source, people / name / target)
        arguments = [
            "fleetloop.demo.labellers",
            *("--desk", self._run.fleet.address("label_desk")),
            *("--identities", str(people)),
            *("--truth", *map(str, self._fleet.truth_files)),
            *("--wrong", str(self._plan.wrong_answers)),
            *("--seed", str(self._plan.seed)),
        ]
        self._helpers.append(start_process("labellers", arguments, self._folder / "logs"))

    def _first_model(self) -> None:
        with self._screen.step("the first model is trained on plain cases only, examined and released"):
            deadline = time.monotonic() + self._plan.turn_within_s
            while not (glance := self._watch.glance()).rollouts:
                self._alive(deadline, "the first model")
                self._screen.glance(glance)
                examined = [run for run in glance.runs if run.state == training_pb2.RUN_STATE_EVALUATED]
                if examined and examined[0].verdict != training_pb2.VERDICT_PASSED:
                    raise UserError(
                        f"The first model was rejected: {'; '.join(examined[0].reasons)}",
                        "Without a model there is no loop; another --seed may help.",
                    )
                time.sleep(_POLL_S)
        self._account.first_model = recalls(glance.runs[0].metrics)

    def _measure(self, name: str) -> Driven:
        """All vehicles on the same routes each time, with the model that drives now."""
        with self._screen.step(f"{self._plan.vehicles} vehicles drive the measured routes"):
            return self._drive(name, self._plan.measured_s, self._plan.measured_seed)

    def _drive(self, name: str, seconds: float, seed: int) -> Driven:
        began_s = time.monotonic()
        driven = self._fleet.drive(name, seconds, seed, self._on_progress)
        self._driving_s += time.monotonic() - began_s
        self._account.drives.append(driven)
        return driven

    def _on_progress(self, share: float) -> None:
        self._screen.progress(share)
        self._screen.glance(self._watch.glance())
        for helper in self._helpers:
            helper.measure()

    def _turn(self, number: int) -> None:
        """The vehicles drive on until the turn is over, whatever comes of it.

        They park while a net is trained: two cores are all there is, and nobody waits for what they would meet.
        """
        deadline = time.monotonic() + self._plan.turn_within_s
        with self._screen.step(f"turn {number}: the loop turns while the vehicles drive on"):
            while not (glance := self._watch.glance()).turn_is_over(number):
                self._alive(deadline, f"turn {number}")
                self._screen.glance(glance)
                if glance.only_trains():
                    time.sleep(_POLL_S)
                    continue
                self._onward += 1
                self._drive(f"onward-{self._onward}", self._plan.onward_s, self._plan.onward_seed + self._onward)

    def _alive(self, deadline_s: float, what: str) -> None:
        for helper in self._helpers:
            if helper.process.poll() is not None:
                raise UserError(
                    f"{helper.name} ended with {helper.process.returncode}.",
                    f"The log is {self._folder / 'logs' / (helper.name + '.log')}.",
                )
        if time.monotonic() > deadline_s:
            raise UserError(
                f"{what} has not come to an end after {self._plan.turn_within_s:.0f} s.",
                f"`fleetloop status --dir {self._folder}` and the logs in {self._folder / 'logs'} say more.",
            )
        failed = [run for run in self._watch.runs() if run.state == training_pb2.RUN_STATE_FAILED]
        if failed:
            raise UserError(f"{failed[0].run_id} failed: {'; '.join(failed[0].reasons)}", "See its job.log.")

    def _settle_accounts(self) -> None:
        cpu: dict[str, Any] = dict(self._run.supervisor.cpu_seconds())
        for helper in (*self._helpers, *self._fleet.processes):
            cpu[helper.name] = helper.measure()
        self._account.cpu_s = cpu
        simulated_s = sum(driven.seconds * self._plan.vehicles for driven in self._account.drives)
        self._account.simulated_rate = simulated_s / self._driving_s if self._driving_s else 0.0

    def close(self) -> None:
        """Ends what the demo started beside the services."""
        for helper in self._helpers:
            helper.end()
        self._fleet.stop()
        self._watch.close()

"""The simulated fleet's processes: started, told which drive to make next, asked how far they are."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fleetloop.api.installation import RunningFleet
from fleetloop.demo.plan import FROM_UTC_NS, DemoPlan
from fleetloop.demo.setting import VEHICLE_PREFIX
from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.process.clock import seconds_to_ns

_DAY_NS = seconds_to_ns(86_400)


@dataclass(frozen=True, slots=True)
class VehicleDrive:
    """One vehicle's part of a drive."""

    autopilot_km: float
    interventions: int
    active: str
    """Model that it drove with at the end."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What all vehicles did in one drive."""

    phase: str
    seconds: float
    km: float
    autopilot_km: float
    interventions: int
    inferences: int
    vehicles: Mapping[str, VehicleDrive]


@dataclass
class Helper:
    """A process that the demo started beside the services."""

    name: str
    process: subprocess.Popen[bytes]
    cpu_s: float = 0.0

    def measure(self) -> float:
        """CPU seconds so far; the last known figure once it has ended."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
            self.cpu_s = max(self.cpu_s, times.user + times.system)
        except psutil.Error:
            pass
        return self.cpu_s

    def end(self, patience_s: float = 20.0) -> None:
        """SIGTERM, then SIGKILL."""
        self.measure()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_process(name: str, arguments: list[str], logs: Path) -> Helper:
    """Starts `python -m ...` with its output in a log file."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    return Helper(name, process)


@dataclass
class TownFleet:
    """All simulated vehicles, in a few processes."""

    plan: DemoPlan
    fleet: RunningFleet
    folder: Path
    config: Path
    processes: list[Helper] = field(default_factory=list)
    _phases: int = 0

    @property
    def truth_files(self) -> list[Path]:
        """Where each process notes what was really there."""
        return [self.folder / f"truth-{number}.jsonl" for number in range(self.plan.agent_processes)]

    def start(self) -> None:
        """Starts the processes; they wait for a first drive."""
        each = -(-self.plan.vehicles // self.plan.agent_processes)
        for number in range(self.plan.agent_processes):
            first = number * each
            arguments = [
                "vehicle_agent",
                *("--world", "town"),
                *("--vehicles", str(min(each, self.plan.vehicles - first))),
                *("--first", str(first)),
                *("--prefix", VEHICLE_PREFIX),
                *("--fleet-id", self.fleet.fleet_id),
                *("--telemetry-gateway-address", self.fleet.address("telemetry_gateway")),
                *("--rollout-controller-address", self.fleet.address("rollout_controller")),
                *("--identities", str(self.folder / "vehicles")),
                *("--trust", str(self.fleet.layout.trust)),
                *("--state-dir", str(self.folder / "vehicle-state" / str(number))),
                *("--config-dir", str(self.config)),
                *("--town-seed", str(self.plan.town_seed)),
                *("--rate", "0"),
                *("--update-poll-s", "20"),
                *("--ring-s", "480"),
                *("--frames-per-batch", "50"),
                *("--control", str(self.folder / "control")),
                *("--truth-file", str(self.truth_files[number])),
            ]
            self.processes.append(start_process(f"vehicles-{number}", arguments, self.folder / "logs"))

    def drive(self, name: str, seconds: float, seed: int, on_progress: Callable[[float], None]) -> Driven:
        """Has all vehicles make one drive and waits for its end; `on_progress` gets the share done.

        Raises UserError when a process of vehicles ends.
        """
        self._phases += 1
        phase = f"{self._phases:02d}-{name}"
        start_utc_ns = FROM_UTC_NS + self._phases * _DAY_NS
        wanted = {"phase": phase, "seconds": seconds, "seed": seed, "start_utc_ns": start_utc_ns}
        control = self.folder / "control"
        control.mkdir(parents=True, exist_ok=True)
        replace_text(control / "phase.json", json.dumps(wanted))
        before = sum(int(report.get("inferences", 0)) for report in self._progress())
        while True:
            reports = [report for report in self._progress() if report.get("phase") == phase]
            on_progress(sum(float(report["simulated_s"]) for report in reports) / (seconds * len(self.processes)))
            if len(reports) == len(self.processes) and all(report["state"] == "done" for report in reports):
                return _driven(phase, seconds, reports, before)
            for helper in self.processes:
                helper.measure()
                if helper.process.poll() is not None:
                    raise UserError(
                        f"{helper.name} ended with {helper.process.returncode}.",
                        f"Its log is {self.folder / 'logs' / (helper.name + '.log')}.",
                    )
            time.sleep(1.0)

    def _progress(self) -> list[Mapping[str, Any]]:
        paths = sorted((self.folder / "control").glob("progress-*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def stop(self) -> None:
        """Ends the processes."""
        for helper in self.processes:
            helper.end()


def _driven(phase: str, seconds: float, reports: list[Mapping[str, Any]], inferences_before: int) -> Driven:
    def total(name: str) -> float:
        return sum(float(vehicle[name]) for report in reports for vehicle in report["vehicles"].values())

    return Driven(
        phase,
        seconds,
        km=total("distance_km"),
        autopilot_km=total("autopilot_km"),
        interventions=round(total("interventions")),
        inferences=sum(int(report["inferences"]) for report in reports) - inferences_before,
        vehicles={
            name: VehicleDrive(float(v["autopilot_km"]), round(v["interventions"]), str(v["active"]))
            for report in reports
            for name, v in report["vehicles"].items()
        },
    )

"""The processes of the simulated fleet: start them, assign drives, and read their progress."""

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
from fleetloop.demo.preparation import VEHICLE_PREFIX
from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_text
from fleetloop.kit.process.clock import seconds_to_ns

_DAY_NS = seconds_to_ns(86_400)


@dataclass(frozen=True, slots=True)
class VehicleDrive:
    """The part of one vehicle in a drive."""

    autopilot_km: float
    interventions: int
    active: str
    """Digest of the model that the vehicle drove with at the end."""


@dataclass(frozen=True, slots=True)
class DriveResult:
    """The totals of all vehicles over one drive."""

    phase: str
    seconds: float
    km: float
    autopilot_km: float
    interventions: int
    inferences: int
    vehicles: Mapping[str, VehicleDrive]


@dataclass
class ChildProcess:
    """A process that the demo started beside the services."""

    name: str
    process: subprocess.Popen[bytes]
    cpu_s: float = 0.0

    def measure(self) -> float:
        """Return the CPU seconds used so far, or the last known figure if the process has ended."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
            self.cpu_s = max(self.cpu_s, times.user + times.system)
        except psutil.Error:
            pass
        return self.cpu_s

    def end(self, patience_s: float = 20.0) -> None:
        """Stop the process with SIGTERM, and with SIGKILL if it still runs after `patience_s` seconds."""
        self.measure()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_process(name: str, arguments: list[str], logs: Path) -> ChildProcess:
    """Start `python -m <arguments>` with its output appended to `<logs>/<name>.log`."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    return ChildProcess(name, process)


@dataclass
class TownFleet:
    """All simulated vehicles, spread over a few processes."""

    plan: DemoPlan
    fleet: RunningFleet
    folder: Path
    config: Path
    processes: list[ChildProcess] = field(default_factory=list)
    _phases: int = 0

    @property
    def truth_files(self) -> list[Path]:
        """Files to which the processes write the ground truth, one per process."""
        return [self.folder / f"truth-{number}.jsonl" for number in range(self.plan.agent_processes)]

    def start(self) -> None:
        """Start the processes. They wait until `drive` assigns a first drive."""
        each = -(-self.plan.vehicles // self.plan.agent_processes)  # rounded up
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

    def drive(self, name: str, seconds: float, seed: int, on_progress: Callable[[float], None]) -> DriveResult:
        """Let all vehicles make one drive and wait for its end.

        Args:
            name: Name of the drive in reports and logs.
            seconds: Simulated seconds.
            seed: Selects the routes.
            on_progress: Called about once per second with the share that is done, 0 to 1.

        Raises UserError if a vehicle process ends before the drive does.
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
                return _drive_result(phase, seconds, reports, before)
            for child in self.processes:
                child.measure()
                if child.process.poll() is not None:
                    raise UserError(
                        f"{child.name} ended with {child.process.returncode}.",
                        f"Its log is {self.folder / 'logs' / (child.name + '.log')}.",
                    )
            time.sleep(1.0)

    def _progress(self) -> list[Mapping[str, Any]]:
        paths = sorted((self.folder / "control").glob("progress-*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def stop(self) -> None:
        """Stop all processes."""
        for child in self.processes:
            child.end()


def _drive_result(
    phase: str, seconds: float, reports: list[Mapping[str, Any]], inferences_before: int
) -> DriveResult:
    def total(name: str) -> float:
        return sum(float(vehicle[name]) for report in reports for vehicle in report["vehicles"].values())

    return DriveResult(
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

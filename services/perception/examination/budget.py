"""The gate on what a vehicle has for a model: time, memory, size.

The exported files run in a process of their own without torch, as on a vehicle. What counts is processor time, so
that a busy machine refuses no model.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fleetloop.domain.artifacts import VEHICLE_FILES
from perception.examination.plan import VehicleBudget
from perception.examination.verdict import Verdict

_TIMEOUT_S = 300
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What an exported model needs."""

    p99_ms: float
    """Processor time of one inference divided by the threads, milliseconds on this machine, 99th percentile."""
    memory_mb: float
    """MB that loading and running it added to a process."""
    files_mb: float


class BudgetError(RuntimeError):
    """The exported model could not be run."""


def cost_of(folder: Path, schema_path: Path, budget: VehicleBudget) -> Cost:
    """Run an exported model. Raises BudgetError with what the process said."""
    command = [
        sys.executable, "-m", "perception.on_vehicle", "--model", str(folder), "--schema", str(schema_path),
        "--threads", str(budget.cores),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stderr or error)[-2000:]
        raise BudgetError(f"the exported model did not run: {said}") from error
    measured = json.loads(done.stdout)
    size = sum((folder / name).stat().st_size for name in VEHICLE_FILES)
    return Cost(measured["p99_ms"], measured["memory_mb"], size / _MB)


def examine_budget(cost: Cost, budget: VehicleBudget) -> Verdict:
    """A model passes if a vehicle has what it needs."""
    on_vehicle_ms = cost.p99_ms * budget.times_slower
    compared = (
        ("an inference takes", on_vehicle_ms, budget.p99_ms, "ms (p99 on the vehicle)"),
        ("it needs", cost.memory_mb, budget.memory_mb, "MB of memory"),
        ("its files have", cost.files_mb, budget.files_mb, "MB"),
    )
    over = [f"Too much: {what} {value:.3g} {unit}, allowed is {most:g}." for what, value, most, unit in compared
            if not value <= most]  # fmt: skip
    said = "; ".join(f"{what} {value:.3g} of {most:g} {unit}" for what, value, most, unit in compared)
    return Verdict(not over, over or [f"Within what a vehicle has: {said}."])

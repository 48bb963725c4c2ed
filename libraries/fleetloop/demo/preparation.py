"""Prepare the demo's folder: configuration, labelled sets, and vehicle identities."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from fleetloop.api.enrolment import Enrolment
from fleetloop.demo.plan import CONFIG, DemoPlan
from fleetloop.errors import UserError
from fleetloop.layout import RunLayout
from fleetloop.shipped import config_folder

RECORDED_PREFIX = "recorded-"
RECORDED_VEHICLE = f"{RECORDED_PREFIX}000"
VEHICLE_PREFIX = "vehicle-"


def vehicle_names(plan: DemoPlan) -> list[str]:
    """Return the names of the simulated vehicles."""
    return [f"{VEHICLE_PREFIX}{number:03d}" for number in range(plan.vehicles)]


def write_config(folder: Path) -> Path:
    """Copy the shipped configuration into `folder` with the demo's values, keeping all comments.

    Raises UserError if a value that the demo replaces does not occur exactly once.
    """
    target = folder / "config"
    shutil.copytree(config_folder(), target)
    for name, values in CONFIG.items():
        path = target / name
        text = path.read_text()
        for key, value in values.items():
            text, replaced = re.subn(rf"(?m)^(\s*{key}:) .*$", rf"\1 {value}", text)
            if replaced != 1:
                raise UserError(f"config/{name} has {replaced} lines with {key}.", "The demo expects one.")
        path.write_text(text)
    return target


def enrol_vehicles(layout: RunLayout, fleet_id: str, names: list[str], folder: Path) -> None:
    """Enrol vehicles as `fleetloop vehicles enrol` does, with one folder of credentials per vehicle."""
    enrolment = Enrolment(layout, fleet_id)
    for name in names:
        enrolment.enrol(name, now=datetime.now(UTC), out=folder / name)


def export_labelled(folder: Path, config: Path, plan: DemoPlan) -> tuple[Path, Path]:
    """Make the plain cases and the frozen test set, from places and seeds that the fleet never drives.

    Returns the folders of the two sets.
    """
    plain, test = folder / "labelled" / "plain", folder / "labelled" / "test"
    for target, kind, count in ((plain, "plain", plan.plain_samples), (test, "test", plan.test_samples)):
        command = [
            sys.executable,
            "-m",
            "fleetloop.worlds.town.export_labelled",
            "--schema",
            str(config / "tasks.yaml"),
            "--out",
            str(target),
            "--kind",
            kind,
            "--count",
            str(count),
            "--seed",
            str(plan.seed),
        ]
        subprocess.run(command, check=True)
    return plain, test

"""Send a recorded drive through gateway, detector and archive, and count its frames."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from fleetloop.api.installation import RunningFleet
from fleetloop.demo.loop_client import LoopClient
from fleetloop.demo.plan import DemoPlan
from fleetloop.demo.preparation import RECORDED_PREFIX, RECORDED_VEHICLE
from fleetloop.demo.results import RecordedDrive
from fleetloop.domain.archive_files import read_archive
from fleetloop.domain.clips import read_drive
from fleetloop.errors import UserError
from fleetloop.kit.storage.objects import Objects
from fleetloop.worlds.comma2k19 import convert, find_comma2k19

WHERE_TO_GET_ONE = "comma2k19 (commaai/comma2k19, MIT) was not found: set FLEETLOOP_COMMA2K19 to where it lies"
_ARCHIVED_WITHIN_S = 60.0


def find_drive(plan: DemoPlan, folder: Path, config: Path) -> tuple[Path, str]:
    """Return a drive file and its source: the given one, the minute of comma2k19, or one recorded in the town."""
    target = folder / "recorded.mcap"
    if plan.drive:
        path = Path(plan.drive)
        if not path.exists():
            raise UserError(f"There is no drive {path}.", "docs/drives.md says how to make one.")
        return path, read_drive(path).info.source or str(path)
    minute = find_comma2k19()
    if minute is not None:
        return target, convert(minute, target).source
    command = [sys.executable, "-m", "vehicle_agent.record", str(target), "--seconds", "60", "--seed", str(plan.seed)]
    subprocess.run(command, check=True)
    return target, f"recorded in the simulated town; {WHERE_TO_GET_ONE}"


def send_recorded_drive(
    plan: DemoPlan, fleet: RunningFleet, folder: Path, config: Path, watch: LoopClient
) -> RecordedDrive:
    """Send the drive as a vehicle would, and count its frames in the archive."""
    drive, source = find_drive(plan, folder, config)
    command = [
        sys.executable,
        "-m",
        "vehicle_agent",
        *("--world", "drive"),
        *("--drive", str(drive)),
        *("--prefix", RECORDED_PREFIX),
        *("--fleet-id", fleet.fleet_id),
        *("--telemetry-gateway-address", fleet.address("telemetry_gateway")),
        *("--identities", str(folder / "vehicles")),
        *("--state-dir", str(folder / "vehicle-state" / "recorded")),
        *("--config-dir", str(config)),
        *("--control", str(folder / "recorded-control")),
        *("--rate", "0"),
    ]
    (folder / "logs").mkdir(exist_ok=True)
    with (folder / "logs" / "recorded-drive.log").open("ab") as log:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=300, check=False)
    if done.returncode:
        raise UserError(f"The recorded drive ended with {done.returncode}.", f"Its log is {log.name}.")
    (progress,) = (folder / "recorded-control").glob("progress-*.json")
    sent = int(json.loads(progress.read_text())["frames_recorded"])
    archived, duplicated = _archived(Objects((folder / "objects").as_uri()), fleet.fleet_id, sent)
    return RecordedDrive(
        source=source,
        frames_sent=sent,
        frames_archived=archived,
        frames_duplicated=duplicated,
        firings=watch.firings_of(RECORDED_VEHICLE),
    )


def _archived(objects: Objects, fleet_id: str, wanted: int) -> tuple[int, int]:
    """Return (frames, frames of batches that are stored more than once), once `wanted` have arrived or a minute
    passed.
    """
    deadline = time.monotonic() + _ARCHIVED_WITHIN_S
    while True:
        frames: dict[tuple[bytes, int], int] = {}
        repeated = 0
        for batch in read_archive(objects, fleet_id, vehicles=[RECORDED_VEHICLE], signals=[]):
            key = (batch.boot_id, batch.sequence)
            repeated += batch.frames() if key in frames else 0
            frames[key] = batch.frames()
        total = sum(frames.values())
        if total >= wanted or time.monotonic() > deadline:
            return total, repeated
        time.sleep(0.5)

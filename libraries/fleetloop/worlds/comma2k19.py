"""Turns a segment of comma2k19 into a drive, with the real, irregular timestamps that its sensors gave.

The layout is comma2k19's own: `<dongle>|<start>/<segment>/processed_log/{CAN,IMU,GNSS}/<signal>/{t,value}`, numpy
arrays without an extension, times in seconds since the device's start. Speeds there are m/s, angular velocities
rad/s about forward, right and down; the catalogue wants km/h, deg/s, and left and up positive.

Usage: python -m fleetloop.worlds.comma2k19 SEGMENT_FOLDER OUT.mcap
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fleetloop.domain.clips import ClipError, DriveInfo, DriveSignal, DriveWriter
from fleetloop.kit.process.clock import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND

SOURCE = "comma2k19, https://github.com/commaai/comma2k19, MIT"
_GAP_S = 0.02
"""Radar objects come in bursts of a few milliseconds, some 50 ms apart."""
_WHEELS = ("Row1.Wheel.Left", "Row1.Wheel.Right", "Row2.Wheel.Left", "Row2.Wheel.Right")
Floats = npt.NDArray[np.float64]


def find_comma2k19(environ: Mapping[str, str] | None = None) -> Path | None:
    """A segment's folder: in FLEETLOOP_COMMA2K19, else in ../shared/data/comma2k19 beside the checkout."""
    named = (os.environ if environ is None else environ).get("FLEETLOOP_COMMA2K19")
    root = Path(named) if named else Path(__file__).parents[3].parent / "shared" / "data" / "comma2k19"
    if not root.is_dir():
        return None
    return next(
        (log.parent for log in sorted([root / "processed_log", *root.glob("**/processed_log")]) if log.is_dir()), None
    )


def convert(segment: Path, target: Path) -> DriveInfo:
    """Writes the segment as a drive file. Raises ClipError that names the array which is missing or damaged."""
    signals = read_segment(segment)
    info = _info(segment, signals)
    with DriveWriter(target, info) as drive:
        for name, signal in signals.items():
            drive.signal(name, signal.times_ns, signal.values, signal.splits)
    return info


def read_segment(segment: Path) -> dict[str, DriveSignal]:
    """All signals that the catalogue has names for, by path. Raises ClipError."""
    log = segment / "processed_log"
    speed, wheels = _load(log, "CAN/speed", 1), _load(log, "CAN/wheel_speed", 4)
    steering = _load(log, "CAN/steering_angle", 1)
    acceleration, rotation = _load(log, "IMU/accelerometer", 3), _load(log, "IMU/gyro", 3)
    place = _load(log, "GNSS/live_gnss_ublox", 6)
    signals = {
        "Vehicle.Speed": _plain(speed, 0, 3.6),
        "Vehicle.Chassis.SteeringWheel.Angle": _plain(steering, 0),
        **{f"Vehicle.Chassis.Axle.{wheel}.Speed": _plain(wheels, i, 3.6) for i, wheel in enumerate(_WHEELS)},
        "Vehicle.Acceleration.Longitudinal": _plain(acceleration, 0),
        "Vehicle.Acceleration.Lateral": _plain(acceleration, 1, -1),
        "Vehicle.Acceleration.Vertical": _plain(acceleration, 2, -1),
        "Vehicle.AngularVelocity.Roll": _plain(rotation, 0, np.degrees(1)),
        "Vehicle.AngularVelocity.Pitch": _plain(rotation, 1, -np.degrees(1)),
        "Vehicle.AngularVelocity.Yaw": _plain(rotation, 2, -np.degrees(1)),
        "Vehicle.CurrentLocation.Latitude": _plain(place, 0, precise=True),
        "Vehicle.CurrentLocation.Longitude": _plain(place, 1, precise=True),
        "Vehicle.CurrentLocation.GNSSSpeed": _plain(place, 2),
        "Vehicle.CurrentLocation.Altitude": _plain(place, 4, precise=True),
        "Vehicle.CurrentLocation.Heading": _plain(place, 5),
    }
    return {**signals, **_radar(*_load(log, "CAN/radar", 7))}


def _info(segment: Path, signals: Mapping[str, DriveSignal]) -> DriveInfo:
    times, fixes = _load(segment / "processed_log", "GNSS/live_gnss_ublox", 6)
    begin_ns = min(int(signal.times_ns[0]) for signal in signals.values())
    # Each fix carries UTC; the median over the drive leaves out what single fixes were late by.
    utc_ns, monotonic_ns = fixes[:, 3] * NANOSECONDS_PER_MILLISECOND, times * NANOSECONDS_PER_SECOND
    utc_minus_monotonic_ns = round(float(np.median(utc_ns - monotonic_ns)))
    drive = segment.resolve().parent.name
    return DriveInfo(
        vehicle_id=drive.partition("|")[0] or "comma2k19",
        drive_id=f"{drive}/{segment.resolve().name}",
        start_monotonic_ns=begin_ns,
        start_utc_ns=begin_ns + utc_minus_monotonic_ns,
        utc_source="gnss",
        source=SOURCE,
    )


def _load(log: Path, name: str, width: int) -> tuple[Floats, Floats]:
    """(times in seconds [rows], values [rows, width]). Raises ClipError."""
    try:
        times: Floats = np.load(log / name / "t", allow_pickle=False).astype(np.float64)
        values: Floats = np.load(log / name / "value", allow_pickle=False).astype(np.float64).reshape(len(times), -1)
    except (OSError, ValueError, EOFError) as error:
        raise ClipError(str(log / name), f"cannot be read; is {log.parent} a comma2k19 segment? {error}") from error
    if times.ndim != 1 or len(times) == 0 or values.shape[1] != width:
        raise ClipError(str(log / name), f"has the shape {values.shape}; rows of {width} are wanted")
    return times, values


def _plain(array: tuple[Floats, Floats], column: int, factor: float = 1.0, precise: bool = False) -> DriveSignal:
    times, rows = array
    values = rows[:, column] * factor
    times_ns = np.round(times * NANOSECONDS_PER_SECOND).astype(np.int64)
    return DriveSignal(times_ns, values if precise else values.astype(np.float32))


def _radar(times: Floats, values: Floats) -> dict[str, DriveSignal]:
    """Rows are single objects; a burst of them is one instant, when the last has come."""
    begins = _bursts(times, values[:, 5])
    splits = np.append(begins, len(times)).astype(np.uint32)
    instants = np.round(times[splits[1:].astype(np.int64) - 1] * NANOSECONDS_PER_SECOND).astype(np.int64)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "Id": values[:, 5].astype(np.int64),
        "Distance": values[:, 0].astype(np.float32),
        "Lateral": values[:, 1].astype(np.float32),
        "RelativeSpeed": values[:, 2].astype(np.float32),
    }
    return {f"Radar.Object.{name}": DriveSignal(instants, column, splits) for name, column in columns.items()}


def _bursts(times: Floats, tracks: Floats) -> npt.NDArray[np.int64]:
    """Row numbers at which a burst begins: after a pause, or where a track comes again."""
    begins = [0]
    seen: set[float] = set()
    for row, track in enumerate(tracks.tolist()):
        if track in seen or (row and times[row] - times[row - 1] > _GAP_S):
            begins.append(row)
            seen.clear()
        seen.add(track)
    return np.array(begins, np.int64)


def main(arguments: list[str]) -> int:
    """The command line; the exit code."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__.rpartition('Usage: ')[2].strip()}\n" if __doc__ else "")
        return 2
    try:
        info = convert(Path(arguments[0]), Path(arguments[1]))
    except (ClipError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{arguments[1]}: {info.drive_id} of {info.vehicle_id}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

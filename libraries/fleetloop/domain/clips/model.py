"""The content of a drive or clip, independent of the file format."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = ("bool", "int32", "int64", "float32", "float64", "uint8", "uint16", "uint32")
"""Types that a signal's values may have. Unsigned values are codes into a dictionary, or plain small numbers."""


class ClipError(ValueError):
    """A file, or data to be written to one, is not a drive. `where` names the part at fault."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message


@dataclass(frozen=True, slots=True)
class DriveInfo:
    """Metadata of a drive or clip. Only `vehicle_id` and `drive_id` are required."""

    vehicle_id: str
    drive_id: str
    """Name of the drive, or of the drive that the clip was cut from; on a vehicle the boot in hex."""
    start_monotonic_ns: int = 0
    """The drive's monotonic clock at its start, nanoseconds. Signals and images carry this clock."""
    start_utc_ns: int = 0
    """The same instant in estimated UTC, nanoseconds."""
    utc_source: str = "local"
    """gnss, ntp, local or simulated."""
    fleet_id: str = ""
    boot_id: bytes = b""
    model_digest: str = ""
    """The model that drove during the recording."""
    shadow_digest: str = ""
    """The model that ran in shadow during the recording."""
    map_version: int = 0
    firing_id: str = ""
    """The firing that a clip belongs to; empty for a whole drive."""
    command_id: str = ""
    """The command that requested the clip."""
    trigger: str = ""
    onset_monotonic_ns: int = -1
    """The firing's onset on the drive's clock; -1: none."""
    source: str = ""
    """Origin of the recording and its licence, for data from elsewhere."""

    def utc_ns(self, monotonic_ns: int) -> int:
        """Convert an instant of the drive's clock to UTC nanoseconds."""
        return self.start_utc_ns + monotonic_ns - self.start_monotonic_ns

    def to_text(self) -> dict[str, str]:
        """Convert to the strings of an MCAP metadata record, without fields that have their default."""
        text = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text[field.name] = value.hex() if isinstance(value, bytes) else str(value)
        return text

    @classmethod
    def from_text(cls, text: dict[str, str]) -> DriveInfo:
        """Parse what `to_text` returned; unknown entries are ignored. Raises ClipError that names the entry."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in text:
                continue
            raw = text[field.name]
            try:
                kind = str(field.type)
                values[field.name] = int(raw) if kind == "int" else bytes.fromhex(raw) if kind == "bytes" else raw
            except ValueError as error:
                raise ClipError(f"metadata.{field.name}", f"{raw!r} is not {field.type}") from error
        for name in ("vehicle_id", "drive_id"):
            if not values.get(name):
                raise ClipError(f"metadata.{name}", "is missing; name the vehicle and the drive")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class DriveSignal:
    """The values of one signal over the whole drive."""

    times_ns: npt.NDArray[np.int64]
    """(rows,) the drive's monotonic clock, never decreasing."""
    values: npt.NDArray[np.generic]
    """(rows,), or (total,) with `splits`."""
    splits: npt.NDArray[np.uint32] | None = None
    """(rows + 1,) index in `values` at which each instant's list begins. None: one value per instant."""
    dictionary: tuple[str, ...] = ()
    """The words that the values are codes for; empty when they are not codes."""

    def rows(self) -> int:
        """Return the number of instants."""
        return len(self.times_ns)

    def between(self, first_ns: int, last_ns: int) -> DriveSignal:
        """Return the rows from `first_ns` to `last_ns`, both included; the arrays share memory with these."""
        low = int(np.searchsorted(self.times_ns, first_ns, "left"))
        high = int(np.searchsorted(self.times_ns, last_ns, "right"))
        high = max(low, high)
        if self.splits is None:
            return DriveSignal(self.times_ns[low:high], self.values[low:high], None, self.dictionary)
        splits = self.splits[low : high + 1]
        values = self.values[int(splits[0]) : int(splits[-1])]
        return DriveSignal(self.times_ns[low:high], values, splits - splits[0], self.dictionary)


@dataclass(frozen=True, slots=True)
class Image:
    """One picture of one camera, still encoded."""

    time_ns: int
    png: bytes


def check_signal(name: str, signal: DriveSignal) -> None:
    """Check that a signal can be stored. Raises ClipError that names the array at fault."""
    where = f"signal {name}"
    if not name or not name.isprintable() or name.startswith("/"):
        raise ClipError(where, "use a path such as Vehicle.Speed as its name")
    if signal.values.dtype.newbyteorder("=").name not in DTYPES or signal.values.ndim != 1:
        shape = f"{signal.values.dtype} with {signal.values.ndim} dimensions"
        raise ClipError(f"{where}.values", f"{shape} cannot be stored; one dimension of {', '.join(DTYPES)}")
    if signal.times_ns.ndim != 1 or signal.times_ns.dtype != np.int64:
        raise ClipError(f"{where}.times_ns", "must be one dimension of int64 nanoseconds")
    if len(signal.times_ns) and (signal.times_ns[0] < 0 or bool((np.diff(signal.times_ns) < 0).any())):
        raise ClipError(f"{where}.times_ns", "are negative or run backwards; sort the signal by time")
    if signal.splits is None:
        if len(signal.values) != len(signal.times_ns):
            raise ClipError(f"{where}.values", f"{len(signal.values)} values for {len(signal.times_ns)} instants")
    else:
        splits = signal.splits.astype(np.int64)
        fits = len(splits) == len(signal.times_ns) + 1 and splits[0] == 0 and splits[-1] == len(signal.values)
        if not fits or bool((np.diff(splits) < 0).any()):
            raise ClipError(f"{where}.splits", "must rise from 0 to the number of values, one more than instants")
    if signal.dictionary:
        if signal.values.dtype.kind != "u":
            raise ClipError(f"{where}.dictionary", "belongs to unsigned codes")
        codes = signal.values.astype(np.int64)
        if len(codes) and int(codes.max()) >= len(signal.dictionary):
            raise ClipError(f"{where}.values", "has a code beyond its dictionary")

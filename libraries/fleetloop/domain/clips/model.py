"""What a drive or clip holds, without the file around it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = ("bool", "int32", "int64", "float32", "float64", "uint8", "uint16", "uint32")
"""Types that a signal's values may have; unsigned ones are codes into a dictionary, or plain small numbers."""


class ClipError(ValueError):
    """A file, or what should go into one, is not a drive; `where` names the place."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message


@dataclass(frozen=True, slots=True)
class DriveInfo:
    """What is known of the whole drive or clip. Only the vehicle and the drive must be named."""

    vehicle_id: str
    drive_id: str
    """Name of the drive that this is, or was cut from; on a vehicle the boot in hex."""
    start_monotonic_ns: int = 0
    """The drive's own clock at its beginning. Signals and images carry this clock."""
    start_utc_ns: int = 0
    """The same instant in UTC, as well as it is known."""
    utc_source: str = "local"
    """gnss, ntp, local or simulated."""
    fleet_id: str = ""
    boot_id: bytes = b""
    model_digest: str = ""
    """Model that drove while it was recorded."""
    shadow_digest: str = ""
    map_version: int = 0
    firing_id: str = ""
    """Firing that a clip belongs to; empty for a whole drive."""
    command_id: str = ""
    trigger: str = ""
    onset_monotonic_ns: int = -1
    """The trigger's moment; -1: none."""
    source: str = ""
    """Where the recording comes from, with its licence where it has one."""

    def utc_ns(self, monotonic_ns: int) -> int:
        """UTC of an instant of the drive's clock."""
        return self.start_utc_ns + monotonic_ns - self.start_monotonic_ns

    def to_text(self) -> dict[str, str]:
        """As an MCAP metadata record carries it; what is at its default is left out."""
        text = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text[field.name] = value.hex() if isinstance(value, bytes) else str(value)
        return text

    @classmethod
    def from_text(cls, text: dict[str, str]) -> DriveInfo:
        """The inverse of `to_text`; entries that it does not know are passed over. Raises ClipError."""
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
    """One signal over the whole drive."""

    times_ns: npt.NDArray[np.int64]
    """(rows,) the drive's monotonic clock, never decreasing."""
    values: npt.NDArray[np.generic]
    """(rows,), or (total,) with `splits`."""
    splits: npt.NDArray[np.uint32] | None = None
    """(rows + 1,) where each instant's list begins in `values`. None: one value per instant."""
    dictionary: tuple[str, ...] = ()
    """The words that codes stand for."""

    def rows(self) -> int:
        """Number of instants."""
        return len(self.times_ns)

    def between(self, first_ns: int, last_ns: int) -> DriveSignal:
        """The rows from `first_ns` to `last_ns`, both included."""
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
    """One picture of one camera, still packed."""

    time_ns: int
    png: bytes


def check_signal(name: str, signal: DriveSignal) -> None:
    """Raises ClipError that names the part which does not fit."""
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

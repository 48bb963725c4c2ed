"""The signal catalogue: type, unit and range of every signal that a fleet may send, and the limits on a batch.

`config/signals.yaml` is the shipped catalogue. The gateway checks every batch against it
(`fleetloop.domain.validation`), because there the producer still learns why a batch is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

KINDS = ("bool", "int32", "int64", "float32", "float64", "enum", "string")
NUMERIC_KINDS = ("int32", "int64", "float32", "float64")


class CatalogueError(ValueError):
    """The catalogue file is wrong. The message names the signal, the field and the remedy."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One entry of the catalogue."""

    path: str
    kind: str
    """One of ``KINDS``."""
    unit: str = ""
    """Empty for a pure number, and for bool, enum and string."""
    minimum: float = -np.inf
    """Smallest value that is accepted, in `unit`."""
    maximum: float = np.inf
    """Largest value that is accepted, in `unit`."""
    nan_allowed: bool = False
    """Whether NaN is accepted. It means "no value at this instant", for example no lead vehicle to measure."""
    ragged: bool = False
    """Whether an instant has a list of values. The lists of one track group (same path up to the last dot) are
    parallel: equal instants, equal lengths.
    """
    max_age_s: float = 1.0
    """Seconds for which the last value counts as known; afterwards it is unknown."""
    values: tuple[str, ...] = ()
    """An enum's values; their order gives the codes."""
    description: str = ""

    def group(self) -> str:
        """Return the track group of a ragged signal: its path without the last part."""
        return self.path.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits on one batch, independent of its signals."""

    max_frames: int = 4096
    """Most instants of the batch, and of each column with instants of its own."""
    max_values: int = 65536
    """Most values of a column, all lists together."""
    max_columns: int = 512
    """Most columns of the batch."""
    max_span_s: float = 120.0
    """Most seconds from the batch's start to its last instant."""
    max_future_s: float = 10.0
    """Most seconds by which the batch's UTC may be ahead of the receiver's clock."""


@dataclass(frozen=True, slots=True)
class SignalCatalogue:
    """All signals by path, and the limits on a batch. Indexing by a path returns its signal."""

    signals: Mapping[str, Signal]
    limits: BatchLimits = BatchLimits()
    version: str = "0"

    def __contains__(self, path: object) -> bool:
        return path in self.signals

    def __getitem__(self, path: str) -> Signal:
        return self.signals[path]

    def group(self, group: str) -> tuple[Signal, ...]:
        """Return the ragged signals of one track group, in catalogue order; empty when there is no such group."""
        return tuple(s for s in self.signals.values() if s.ragged and s.group() == group)


def load_catalogue(path: Path) -> SignalCatalogue:
    """Read a catalogue file. Raises CatalogueError that names the file and the mistake, OSError when unreadable."""
    try:
        return parse_catalogue(path.read_text(encoding="utf-8"))
    except CatalogueError as error:
        raise CatalogueError(f"{path}: {error}") from None


def parse_catalogue(text: str) -> SignalCatalogue:
    """Parse the YAML text of a catalogue. Raises CatalogueError."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CatalogueError(f"not YAML: {error}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("signals"), dict):
        raise CatalogueError("expected a mapping with a key `signals` that maps each signal path to its definition")
    unknown = sorted(map(str, set(raw) - {"version", "limits", "signals"}))
    if unknown:
        raise CatalogueError(f"unknown key `{unknown[0]}`: only version, limits and signals are known")
    signals = {str(p): _signal(str(p), d) for p, d in raw["signals"].items()}
    return SignalCatalogue(signals, _limits(raw.get("limits") or {}), str(raw.get("version", "0")))


def _limits(raw: Any) -> BatchLimits:
    if not isinstance(raw, dict):
        raise CatalogueError("limits: expected a mapping")
    known = {f: type(getattr(BatchLimits(), f)) for f in BatchLimits.__dataclass_fields__}
    for name, value in raw.items():
        if name not in known:
            raise CatalogueError(f"limits: unknown key `{name}`; known are {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise CatalogueError(f"limits.{name}: {value!r} is not a positive number")
    return BatchLimits(**{n: known[n](v) for n, v in raw.items()})


_FIELDS = {"type", "unit", "min", "max", "nan_allowed", "ragged", "max_age_s", "values", "description"}


def _signal(path: str, raw: Any) -> Signal:
    if not isinstance(raw, dict):
        raise CatalogueError(f"signal {path}: expected a mapping with at least `type`")
    unknown = sorted(map(str, set(raw) - _FIELDS))
    if unknown:
        raise CatalogueError(f"signal {path}: unknown key `{unknown[0]}`; known are {', '.join(sorted(_FIELDS))}")
    if not all(part.isidentifier() for part in path.split(".")):
        raise CatalogueError(f"signal {path!r}: a path is names of letters, digits and _ joined by dots")
    kind = raw.get("type")
    if kind not in KINDS:
        raise CatalogueError(f"signal {path}.type: {kind!r} is not one of {', '.join(KINDS)}")
    values = raw.get("values") or ()
    if (kind == "enum") != bool(values):
        raise CatalogueError(f"signal {path}.values: an enum, and only an enum, lists its values")
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise CatalogueError(f"signal {path}.values: expected a list of strings (quote words like on and off)")
    if len(set(values)) != len(values):
        raise CatalogueError(f"signal {path}.values: a value occurs twice")
    if kind not in NUMERIC_KINDS and any(k in raw for k in ("min", "max", "unit", "nan_allowed")):
        raise CatalogueError(f"signal {path}: min, max, unit and nan_allowed are for numbers, not for {kind}")
    minimum, maximum = _number(path, raw, "min", -np.inf), _number(path, raw, "max", np.inf)
    if minimum > maximum:
        raise CatalogueError(f"signal {path}: min {minimum} is above max {maximum}")
    nan_allowed = bool(raw.get("nan_allowed", False))
    if nan_allowed and kind not in ("float32", "float64"):
        raise CatalogueError(f"signal {path}.nan_allowed: only a float has NaN")
    max_age_s = _number(path, raw, "max_age_s", 1.0)
    if not 0 < max_age_s < np.inf:
        raise CatalogueError(f"signal {path}.max_age_s: must be a positive number of seconds")
    return Signal(
        path=path,
        kind=str(kind),
        unit=str(raw.get("unit", "")),
        minimum=minimum,
        maximum=maximum,
        nan_allowed=nan_allowed,
        ragged=bool(raw.get("ragged", False)),
        max_age_s=max_age_s,
        values=tuple(values),
        description=str(raw.get("description", "")),
    )


def _number(path: str, raw: Mapping[str, Any], field: str, default: float) -> float:
    value = raw.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CatalogueError(f"signal {path}.{field}: {value!r} is not a number")
    return float(value)

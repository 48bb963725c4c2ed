"""Turns ticks of a world into batches: one column a signal, in the catalogue's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import Signal, SignalCatalogue

_TYPES: dict[str, Any] = {"bool": np.bool_, "int32": np.int32, "int64": np.int64,
                          "float32": np.float32, "float64": np.float64, "enum": np.uint16}  # fmt: skip


@dataclass(slots=True)
class _Pile:
    """A signal's values since the batch began."""

    signal: Signal
    times_ns: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)


class BatchBuilder:
    """Collects one vehicle's ticks. A batch ends when it has enough frames, or the models change."""

    def __init__(
        self,
        fleet_id: str,
        vehicle_id: str,
        boot_id: bytes,
        catalogue: SignalCatalogue,
        frames_per_batch: int,
        utc_source: str = "simulated",
    ) -> None:
        self._who = (fleet_id, vehicle_id, boot_id)
        self._catalogue = catalogue
        self._frames_per_batch = frames_per_batch
        self._utc_source = utc_source
        self._frames: list[int] = []
        self._utc_ns = 0
        self._piles: dict[str, _Pile] = {}
        self._digests = ("", "")
        self.sequence = 0
        """Number of the next batch."""
        self.unknown: set[str] = set()
        """Signals that the catalogue lacks; they are left out."""
        self.out_of_range = 0
        """Values that the catalogue forbids; each was left out, so that the batch they are in is not refused."""

    def add(
        self, monotonic_ns: int, utc_ns: int, signals: Mapping[str, Any], digests: tuple[str, str] = ("", "")
    ) -> list[FrameBatch]:
        """Adds a frame; the batches that it completed. `digests` are those of the active and the silent model."""
        done = []
        if self._frames and digests != self._digests:
            done.append(self._build())
        if not self._frames:
            self._utc_ns, self._digests = utc_ns, digests
        self._frames.append(monotonic_ns)
        for path, value in signals.items():
            self._put(path, monotonic_ns, value)
        if len(self._frames) >= self._frames_per_batch:
            done.append(self._build())
        return done

    def flush(self) -> list[FrameBatch]:
        """What there is, as a last, shorter batch."""
        return [self._build()] if self._frames else []

    def _put(self, path: str, monotonic_ns: int, value: Any) -> None:
        pile = self._piles.get(path)
        if pile is None:
            signal = self._catalogue.signals.get(path)
            if signal is None:
                self.unknown.add(path)
                return
            pile = self._piles[path] = _Pile(signal)
        kept = _checked(pile, value)
        if kept is None:
            self.out_of_range += 1
            return
        pile.times_ns.append(monotonic_ns)
        pile.values.append(kept)

    def _build(self) -> FrameBatch:
        begin = self._frames[0]
        frames = np.array(self._frames, np.int64) - begin
        columns = {path: _column(pile, self._frames, begin) for path, pile in self._piles.items() if pile.times_ns}
        fleet_id, vehicle_id, boot_id = self._who
        batch = FrameBatch(
            fleet_id,
            vehicle_id,
            boot_id,
            self.sequence,
            begin,
            self._utc_ns,
            self._utc_source,
            frames,
            columns,
            *self._digests,
        )
        self.sequence += 1
        self._frames, self._piles = [], {}
        return batch


def _checked(pile: _Pile, value: Any) -> Any:
    """The value as it is kept: a number, a code, or an array of a ragged signal; None when it must not be sent."""
    signal = pile.signal
    if signal.ragged:
        values = np.asarray(value)
        if signal.kind in ("enum", "string"):
            codes = [_code(pile, each) for each in values.tolist()]
            return None if None in codes else np.array(codes, np.uint16)
        if len(values) and not bool(((values >= signal.minimum) & (values <= signal.maximum)).all()):
            return None
        return values.astype(_TYPES[signal.kind])
    if signal.kind in ("enum", "string"):
        return _code(pile, value)
    if signal.kind == "bool":
        return bool(value)
    number = float(value)
    if number != number:
        return number if signal.nan_allowed else None
    return value if signal.minimum <= number <= signal.maximum and abs(number) != np.inf else None


def _code(pile: _Pile, value: Any) -> int | None:
    if pile.signal.kind == "string":
        return pile.words.setdefault(str(value), len(pile.words))
    if isinstance(value, str):
        return pile.signal.values.index(value) if value in pile.signal.values else None
    return int(value) if 0 <= int(value) < len(pile.signal.values) else None


def _column(pile: _Pile, frames: list[int], begin: int) -> Column:
    signal = pile.signal
    dtype = _TYPES.get(signal.kind, np.uint16)
    offsets = None if pile.times_ns == frames else np.array(pile.times_ns, np.int64) - begin
    dictionary = tuple(pile.words) if signal.kind == "string" else signal.values
    if not signal.ragged:
        return Column(np.array(pile.values, dtype), offsets, None, dictionary)
    lengths = [len(each) for each in pile.values]
    splits: npt.NDArray[np.uint32] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)
    return Column(np.concatenate(pile.values).astype(dtype), offsets, splits, dictionary)

"""Turn ticks of a world into batches with one column per signal, in the catalogue's types."""

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
class _ColumnBuffer:
    """A signal's values since the start of the batch."""

    signal: Signal
    times_ns: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)


class BatchBuilder:
    """Collects one vehicle's ticks. A batch is complete when it has enough frames, or when the models change."""

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
        self._buffers: dict[str, _ColumnBuffer] = {}
        self._fields: dict[str, frozenset[str]] = {}
        self._digests = ("", "")
        self.sequence = 0
        """Sequence number of the next batch."""
        self.unknown: set[str] = set()
        """Signals that the catalogue does not contain; they are not sent."""
        self.out_of_range = 0
        """Number of values that the catalogue forbids. They are not sent, so that their batch is not refused."""

    def add(
        self, monotonic_ns: int, utc_ns: int, signals: Mapping[str, Any], digests: tuple[str, str] = ("", "")
    ) -> list[FrameBatch]:
        """Add a frame. Returns the batches that it completed.

        Args:
            monotonic_ns: Time of the frame on the boot's monotonic clock.
            utc_ns: Estimate of UTC at the same time.
            signals: Values by path; a ragged signal has a list.
            digests: Digests of the active and the shadow model.
        """
        done = []
        fields = self._group_fields(signals)
        others = any(self._fields.get(group, names) != names for group, names in fields.items())
        if self._frames and (digests != self._digests or others):
            done.append(self._build())
        self._fields |= fields
        if not self._frames:
            self._utc_ns, self._digests = utc_ns, digests
        self._frames.append(monotonic_ns)
        groups: dict[str, list[tuple[_ColumnBuffer, Any]]] = {group: [] for group in fields}
        for path, value in signals.items():
            buffer = self._buffer(path)
            if buffer is None:
                continue
            if buffer.signal.ragged:
                groups[buffer.signal.group()].append((buffer, _checked(buffer, value)))
            else:
                self._put(buffer, monotonic_ns, _checked(buffer, value))
        for group, members in groups.items():
            self._put_group(group, members, monotonic_ns)
        if len(self._frames) >= self._frames_per_batch:
            done.append(self._build())
        return done

    def flush(self) -> list[FrameBatch]:
        """Return the incomplete batch, if there is one."""
        return [self._build()] if self._frames else []

    def _group_fields(self, signals: Mapping[str, Any]) -> dict[str, frozenset[str]]:
        """The fields of each track group in a frame. All frames of a batch have the same ones, or none."""
        known = [self._catalogue.signals[path] for path in signals if path in self._catalogue.signals]
        fields: dict[str, set[str]] = {}
        for signal in known:
            if signal.ragged:
                fields.setdefault(signal.group(), set()).add(signal.path)
        return {group: frozenset(paths) for group, paths in fields.items()}

    def _buffer(self, path: str) -> _ColumnBuffer | None:
        buffer = self._buffers.get(path)
        if buffer is None:
            signal = self._catalogue.signals.get(path)
            if signal is None:
                self.unknown.add(path)
                return None
            buffer = self._buffers[path] = _ColumnBuffer(signal)
        return buffer

    def _put(self, buffer: _ColumnBuffer, monotonic_ns: int, kept: Any) -> None:
        if kept is None:
            self.out_of_range += 1
            return
        buffer.times_ns.append(monotonic_ns)
        buffer.values.append(kept)

    def _put_group(self, group: str, members: list[tuple[_ColumnBuffer, Any]], monotonic_ns: int) -> None:
        """Put the lists of one track group, all or none: they are parallel, and mean nothing without the `Id`."""
        identity = f"{group}.Id"
        named = identity not in self._catalogue.signals or any(b.signal.path == identity for b, _ in members)
        lengths = {-1 if kept is None else len(kept) for _, kept in members}
        if named and len(lengths) == 1 and -1 not in lengths:
            for buffer, kept in members:
                self._put(buffer, monotonic_ns, kept)
        else:
            self.out_of_range += len(members)

    def _build(self) -> FrameBatch:
        begin = self._frames[0]
        frames = np.array(self._frames, np.int64) - begin
        columns = {
            path: _column(buffer, self._frames, begin) for path, buffer in self._buffers.items() if buffer.times_ns
        }
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
        self._frames, self._buffers, self._fields = [], {}, {}
        return batch


def _checked(buffer: _ColumnBuffer, value: Any) -> Any:
    """Return the value to store: a number, a code, or an array of a ragged signal. None if it must not be sent."""
    signal = buffer.signal
    if signal.ragged:
        values = np.asarray(value)
        if signal.kind in ("enum", "string"):
            codes = [_code(buffer, each) for each in values.tolist()]
            return None if None in codes else np.array(codes, np.uint16)
        if len(values) and not bool(((values >= signal.minimum) & (values <= signal.maximum)).all()):
            return None
        return values.astype(_TYPES[signal.kind])
    if signal.kind in ("enum", "string"):
        return _code(buffer, value)
    if signal.kind == "bool":
        return bool(value)
    number = float(value)
    if number != number:  # NaN
        return number if signal.nan_allowed else None
    return value if signal.minimum <= number <= signal.maximum and abs(number) != np.inf else None


def _code(buffer: _ColumnBuffer, value: Any) -> int | None:
    if buffer.signal.kind == "string":
        return buffer.words.setdefault(str(value), len(buffer.words))
    if isinstance(value, str):
        return buffer.signal.values.index(value) if value in buffer.signal.values else None
    return int(value) if 0 <= int(value) < len(buffer.signal.values) else None


def _column(buffer: _ColumnBuffer, frames: list[int], begin: int) -> Column:
    signal = buffer.signal
    dtype = _TYPES.get(signal.kind, np.uint16)
    offsets = None if buffer.times_ns == frames else np.array(buffer.times_ns, np.int64) - begin
    dictionary = tuple(buffer.words) if signal.kind == "string" else signal.values
    if not signal.ragged:
        return Column(np.array(buffer.values, dtype), offsets, None, dictionary)
    lengths = [len(each) for each in buffer.values]
    splits: npt.NDArray[np.uint32] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)
    return Column(np.concatenate(buffer.values).astype(dtype), offsets, splits, dictionary)

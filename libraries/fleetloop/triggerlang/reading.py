"""Batches as they come from the log: looked through as bytes, without making an object of any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.triggerlang.kernels.scan import END_NS, FRAME_AT, FRAMES, KEY_END, SEQUENCE, START_NS, UTC_NS, scan
from fleetloop.triggerlang.lowering import KIND_BYTES, KIND_CODES, Ints, Lowered

_WIRE_TYPES = {"bool": 1, "int32": 2, "int64": 3, "float32": 4, "float64": 5, "enum": 6}
"""``fleet.telemetry.v1.ValueType``."""
_POSITIONS = 1024
"""Columns of a batch whose names are remembered from the batch before."""


@dataclass(frozen=True, slots=True)
class Batches:
    """A run of batches. Per batch its own numbers, and per wanted column where its bytes lie in ``data``."""

    data: npt.NDArray[np.uint8]
    begins: Ints
    """(batches,)"""
    heads: Ints
    """(batches, 7): see ``kernels.scan``."""
    pieces: Ints
    """(batches, columns, 4)"""
    plain: npt.NDArray[np.bool_]
    """(batches,) whether it could be read; the others have to be decoded in the ordinary way."""

    def __len__(self) -> int:
        return len(self.begins)

    def part(self, begin: int, end: int) -> Batches:
        """Only some of them."""
        own = slice(begin, end)
        return Batches(self.data, self.begins[own], self.heads[own], self.pieces[own], self.plain[own])

    @property
    def start_ns(self) -> Ints:
        """(batches,) monotonic time of the start."""
        return self.heads[:, START_NS]

    @property
    def utc_ns(self) -> Ints:
        """(batches,) UTC of the start."""
        return self.heads[:, UTC_NS]

    @property
    def end_ns(self) -> Ints:
        """(batches,) monotonic time of the last instant in any column."""
        return self.heads[:, END_NS]

    @property
    def sequence(self) -> Ints:
        """(batches,) the batch's number within its boot."""
        return self.heads[:, SEQUENCE]

    @property
    def frames(self) -> Ints:
        """(batches,) the batch's own instants."""
        return self.heads[:, FRAMES]

    @property
    def frame_at(self) -> Ints:
        """(batches,) where the frames' offsets begin."""
        return self.heads[:, FRAME_AT]

    @property
    def key_size(self) -> Ints:
        """(batches,) how many of the first bytes name fleet, vehicle and boot."""
        return self.heads[:, KEY_END]


class Reader:
    """Looks for the columns that a program reads."""

    def __init__(self, lowered: Lowered, catalogue: SignalCatalogue) -> None:
        signals = lowered.signals
        names = [path.encode() for path in lowered.columns]
        # an enum's words as they stand on the wire: tag 6, length, text
        words = [b"".join(b"\x32" + bytes([len(w.encode())]) + w.encode() for w in s.values) for s in signals]
        group_of = np.full(len(signals), -1, np.int64)
        for first, last in zip(lowered.group_first[:-1], lowered.group_first[1:], strict=True):
            group_of[first:last] = first
        limits = catalogue.limits
        self._columns = len(signals)
        self._arguments: tuple[Any, ...] = (
            _bytes(names), _ends(names), _bytes(words), _ends(words),
            np.array([len(s.values) for s in signals], np.int64),
            np.array([KIND_CODES[s.kind] for s in signals], np.int64),
            np.array([_WIRE_TYPES[s.kind] for s in signals], np.int64),
            np.array([KIND_BYTES[KIND_CODES[s.kind]] for s in signals], np.int64),
            np.array([s.ragged for s in signals], np.bool_),
            np.array([s.minimum for s in signals], np.float64),
            np.array([s.maximum for s in signals], np.float64),
            np.array([s.nan_allowed for s in signals], np.bool_),
            group_of,
            np.array([limits.max_frames, limits.max_values, seconds_to_ns(limits.max_span_s)], np.int64),
        )  # fmt: skip
        self._guesses = np.zeros(_POSITIONS, np.int64)
        self._guess_at = np.zeros((_POSITIONS, 2), np.int64)

    def read(self, raws: Sequence[bytes], checked: npt.NDArray[np.bool_] | None = None) -> Batches:
        """Looks through batches' bytes. ``checked``: of these only the layout is looked at, not the values."""
        data = np.frombuffer(b"".join(raws), np.uint8)
        ends = _ends(raws)
        plain = np.zeros(len(raws), np.bool_)
        heads = np.zeros((len(raws), 7), np.int64)
        pieces = np.empty((len(raws), self._columns, 4), np.int64)
        known = np.zeros(len(raws), np.bool_) if checked is None else checked
        scan(data, ends, known, *self._arguments, heads, pieces, self._guesses, self._guess_at, plain)
        return Batches(data, ends[:-1], heads, pieces, plain)


def _bytes(parts: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(parts), np.uint8)


def _ends(parts: Sequence[bytes]) -> Ints:
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)

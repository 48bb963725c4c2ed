"""Finds what a program reads in batches' bytes, without making an object of any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.triggerlang.kernels import Bytes, Flags, Ints
from fleetloop.triggerlang.kernels.arguments import ColumnOrder, ExpectedColumns
from fleetloop.triggerlang.kernels.opcodes import TAG_BITS, ColumnField, Kind, ValueType, Wire, bytes_of
from fleetloop.triggerlang.kernels.scan import scan
from fleetloop.triggerlang.kernels.tables import (
    END_NS,
    FRAME_AT,
    FRAMES,
    HEAD_WIDTH,
    KEY_END,
    PIECE_WIDTH,
    SEQUENCE,
    START_NS,
    UTC_NS,
)
from fleetloop.triggerlang.lowering import KINDS, Lowered

_VALUE_TYPES = {
    Kind.BOOL: ValueType.BOOL, Kind.INT32: ValueType.INT32, Kind.INT64: ValueType.INT64,
    Kind.FLOAT32: ValueType.FLOAT32, Kind.FLOAT64: ValueType.FLOAT64, Kind.ENUM: ValueType.ENUM,
}  # fmt: skip
_POSITIONS = 1024
"""How many columns of a batch are recognised by their position in the batch before."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches as bytes, with what the scan found in each: its own numbers, and where each column's bytes are."""

    data: Bytes
    """All batches' bytes, end to end."""
    begins: Ints
    """(batches,) position in ``data`` of each."""
    heads: Ints
    """(batches, HEAD_WIDTH), see ``kernels.tables``."""
    pieces: Ints
    """(batches, columns, PIECE_WIDTH), see ``kernels.tables``."""
    plain: Flags
    """(batches,) whether it is plain (see ``kernels.scan``); the others have to be decoded in the ordinary way."""

    def __len__(self) -> int:
        return len(self.begins)

    def part(self, begin: int, end: int) -> Batches:
        """The batches from ``begin`` up to but not including ``end``."""
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
        """(batches,) number of the batch's own instants."""
        return self.heads[:, FRAMES]

    @property
    def frame_at(self) -> Ints:
        """(batches,) position in ``data`` of the frames' offsets."""
        return self.heads[:, FRAME_AT]

    @property
    def key_size(self) -> Ints:
        """(batches,) how many of its first bytes name fleet, vehicle and boot."""
        return self.heads[:, KEY_END]


class Reader:
    """Finds the columns that a program reads."""

    def __init__(self, lowered: Lowered, catalogue: SignalCatalogue) -> None:
        self._columns = _expected(lowered, catalogue)
        self._order = ColumnOrder(np.zeros(_POSITIONS, np.int64), np.zeros((_POSITIONS, 2), np.int64))

    def read(self, raws: Sequence[bytes], checked: Flags | None = None) -> Batches:
        """Scans batches' bytes.

        ``checked``: (batches,) true for batches that passed the catalogue's check before: only their layout is
        checked, not their values.
        """
        data = np.frombuffer(b"".join(raws), np.uint8)
        ends = _ends(raws)
        plain = np.zeros(len(raws), np.bool_)
        heads = np.zeros((len(raws), HEAD_WIDTH), np.int64)
        pieces = np.empty((len(raws), len(self._columns.kinds), PIECE_WIDTH), np.int64)
        known = np.zeros(len(raws), np.bool_) if checked is None else checked
        scan(data, ends, known, self._columns, self._order, heads, pieces, plain)
        return Batches(data, ends[:-1], heads, pieces, plain)


def _expected(lowered: Lowered, catalogue: SignalCatalogue) -> ExpectedColumns:
    signals, limits = lowered.signals, catalogue.limits
    names = [path.encode() for path in lowered.columns]
    dictionaries = [b"".join(map(_word, signal.values)) for signal in signals]
    kinds = [KINDS[signal.kind] for signal in signals]
    group_of = np.full(len(signals), -1, np.int64)
    for first, last in pairwise(lowered.program.group_first.tolist()):
        group_of[first:last] = first
    return ExpectedColumns(
        names=_joined(names),
        name_at=_ends(names),
        dictionaries=_joined(dictionaries),
        dictionary_at=_ends(dictionaries),
        dictionary_size=np.array([len(s.values) for s in signals], np.int64),
        kinds=np.array(kinds, np.int64),
        value_types=np.array([_VALUE_TYPES[kind] for kind in kinds], np.int64),
        value_bytes=np.array([bytes_of(kind) for kind in kinds], np.int64),
        ragged=np.array([s.ragged for s in signals], np.bool_),
        least=np.array([s.minimum for s in signals], np.float64),
        most=np.array([s.maximum for s in signals], np.float64),
        nan_allowed=np.array([s.nan_allowed for s in signals], np.bool_),
        group_of=group_of,
        max_frames=limits.max_frames,
        max_values=limits.max_values,
        max_span_ns=seconds_to_ns(limits.max_span_s),
    )


def _word(text: str) -> bytes:
    """An enum's word as it is on the wire: tag, length, text."""
    encoded = text.encode()
    return bytes([ColumnField.DICTIONARY << TAG_BITS | Wire.LENGTH, len(encoded)]) + encoded


def _joined(parts: Sequence[bytes]) -> Bytes:
    return np.frombuffer(b"".join(parts), np.uint8)


def _ends(parts: Sequence[bytes]) -> Ints:
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)

"""Telemetry in memory: one vehicle's run of frames, column by column.

Every service that looks inside telemetry (gateway, detector, archiver, vehicle agent) works on this one
shape, so that a column travels from the wire to an array operation without being copied or turned into rows.
Protobuf stays outside: ``telemetry_codec`` translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Column:
    """One signal's values within a batch.

    A column has ``rows`` instants: the batch's frames, or its own where ``offsets_ns`` is given. A plain
    column has one value per instant; a ragged one has a list per instant, all lists laid end to end in
    ``values``.
    """

    values: npt.NDArray[np.generic]
    """(rows,), or (total,) when ragged. Codes into ``dictionary`` where that is not empty."""

    offsets_ns: npt.NDArray[np.int64] | None = None
    """(rows,) nanoseconds from the batch's start, never decreasing. None: the batch's own frame offsets."""

    splits: npt.NDArray[np.uint32] | None = None
    """(rows + 1,) where each instant's list begins in ``values``; the last is the total. None: not ragged."""

    dictionary: tuple[str, ...] = ()
    """The strings that an enum's or string's codes stand for."""

    def rows(self) -> int:
        """Number of instants."""
        return len(self.values) if self.splits is None else len(self.splits) - 1


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Consecutive frames of one vehicle since one start of its agent (a boot)."""

    fleet_id: str
    vehicle_id: str
    boot_id: bytes
    """8 to 16 random bytes, new at every start of the vehicle's agent: the monotonic clock's origin."""

    sequence: int
    """Counts the batches of a boot from 0; a repeat carries the same number."""

    start_monotonic_ns: int
    """The clock of windows and ids."""

    start_utc_ns: int
    """The same instant as estimated UTC: for maps, joins and partitions, never for windows."""

    utc_source: str
    """Where UTC came from, such as ``gnss``, ``ntp`` or ``none``."""

    frame_offsets_ns: npt.NDArray[np.int64]
    """(frames,) nanoseconds from the start, never decreasing."""

    columns: Mapping[str, Column]
    """Signal path to values."""

    model_digest: str = ""
    """The model that drove the perception columns; empty when none ran."""

    shadow_digest: str = ""
    """The silent second model; empty when none ran."""

    def frames(self) -> int:
        """Number of the batch's own instants."""
        return len(self.frame_offsets_ns)

    def end_monotonic_ns(self) -> int:
        """Monotonic time of the last frame."""
        last = int(self.frame_offsets_ns[-1]) if len(self.frame_offsets_ns) else 0
        return self.start_monotonic_ns + last

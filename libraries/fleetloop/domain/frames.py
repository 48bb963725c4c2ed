"""Telemetry in memory: consecutive frames of one vehicle, column by column.

Every service that reads telemetry (gateway, detector, archiver, vehicle agent) works on this shape, so that a
column gets from the wire into an array operation without being copied or turned into rows. ``telemetry_codec``
translates from and to protobuf.
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
    column has one value per instant. A ragged column has a list per instant; ``values`` is the concatenation of
    all lists.
    """

    values: npt.NDArray[np.generic]
    """(rows,), or (total,) when ragged. Codes into ``dictionary`` where that is not empty."""

    offsets_ns: npt.NDArray[np.int64] | None = None
    """(rows,) nanoseconds from the batch's start, never decreasing. None: the batch's own frame offsets."""

    splits: npt.NDArray[np.uint32] | None = None
    """(rows + 1,) index in ``values`` at which each instant's list begins; the last is the total. None: no lists."""

    dictionary: tuple[str, ...] = ()
    """The strings that an enum's or string's codes stand for."""

    def rows(self) -> int:
        """Return the number of instants."""
        return len(self.values) if self.splits is None else len(self.splits) - 1


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Consecutive frames of one vehicle since one start of its agent (a boot)."""

    fleet_id: str
    vehicle_id: str
    boot_id: bytes
    """8 to 16 random bytes, new at every start of the vehicle's agent: the monotonic clock's origin."""

    sequence: int
    """Number of the batch within its boot, from 0; a batch that is sent again has the same number."""

    start_monotonic_ns: int
    """The start on the vehicle's monotonic clock, on which windows and ids are computed."""

    start_utc_ns: int
    """The same instant in estimated UTC: for maps, joins and file names, never for windows."""

    utc_source: str
    """The source of the UTC estimate, such as ``gnss``, ``ntp`` or ``none``."""

    frame_offsets_ns: npt.NDArray[np.int64]
    """(frames,) nanoseconds from the start, never decreasing."""

    columns: Mapping[str, Column]
    """Signal path -> values."""

    model_digest: str = ""
    """The model that computed the perception columns; empty when none ran."""

    shadow_digest: str = ""
    """The model that ran in shadow; empty when none ran."""

    def frames(self) -> int:
        """Return the number of the batch's own frames."""
        return len(self.frame_offsets_ns)

    def end_monotonic_ns(self) -> int:
        """Return the monotonic time of the last frame, nanoseconds."""
        last = int(self.frame_offsets_ns[-1]) if len(self.frame_offsets_ns) else 0
        return self.start_monotonic_ns + last

"""Replays a recorded drive as telemetry batches, each value at the instant at which it was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetloop.domain.clips import ClipError, Drive, DriveSignal, Image
from fleetloop.domain.frames import Column, FrameBatch


@dataclass(frozen=True, slots=True)
class Stretch:
    """A batch, and the pictures that were taken during it."""

    batch: FrameBatch
    images: Sequence[tuple[str, Image]]
    """(camera, picture) in the order of time."""


class RecordedDrive:
    """Splits a drive into batches without resampling: a signal with times of its own keeps them."""

    def __init__(self, drive: Drive, frames_per_batch: int = 100) -> None:
        """Prepare the batches. The frames are the instants of the signal with the most instants.

        Raises ClipError when the drive has no signal.
        """
        signals = {name: signal for name, signal in drive.signals.items() if signal.rows()}
        if not signals:
            raise ClipError("drive", "has no signal to send")
        self.drive = drive
        self._signals = signals
        self._frames = max(signals.values(), key=DriveSignal.rows).times_ns
        first, last = drive.span_ns()
        # A batch begins at a frame. The first batch also gets what precedes all frames, the last what follows them.
        cuts = self._frames[frames_per_batch::frames_per_batch]
        self._edges = np.unique(np.concatenate([[first], cuts[cuts > first], [last + 1]]))

    @property
    def frames(self) -> int:
        """Number of frames of the whole drive."""
        return len(self._frames)

    def __len__(self) -> int:
        """Return the number of batches of the whole drive."""
        return len(self._edges) - 1

    def stretches(
        self, fleet_id: str, vehicle_id: str, boot_id: bytes, *, first: int = 0, start_utc_ns: int | None = None
    ) -> Iterator[Stretch]:
        """Yield the drive's batches from number `first` on, under the given names. Deterministic.

        `start_utc_ns` shifts UTC so that the drive begins at that time; None keeps the recorded time.
        """
        info = self.drive.info
        shift_ns = 0 if start_utc_ns is None else start_utc_ns - info.utc_ns(int(self._edges[0]))
        pictures = sorted(
            ((camera, image) for camera, images in self.drive.pictures.items() for image in images),
            key=lambda each: (each[1].time_ns, each[0]),
        )
        for number in range(first, len(self)):
            begin, end = int(self._edges[number]), int(self._edges[number + 1])
            frames = _between(self._frames, begin, end)
            batch = FrameBatch(
                fleet_id=fleet_id,
                vehicle_id=vehicle_id,
                boot_id=boot_id,
                sequence=number,
                start_monotonic_ns=begin,
                start_utc_ns=info.utc_ns(begin) + shift_ns,
                utc_source=info.utc_source,
                frame_offsets_ns=frames - begin,
                columns=self._columns(begin, end, frames),
                model_digest=info.model_digest,
                shadow_digest=info.shadow_digest,
            )
            yield Stretch(batch, [each for each in pictures if begin <= each[1].time_ns < end])

    def _columns(self, begin: int, end: int, frames: npt.NDArray[np.int64]) -> dict[str, Column]:
        columns = {}
        for name, signal in self._signals.items():
            part = signal.between(begin, end - 1)
            if part.rows():
                own = not np.array_equal(part.times_ns, frames)
                offsets = part.times_ns - begin if own else None
                columns[name] = Column(part.values, offsets, part.splits, part.dictionary)
        return columns


def _between(times: npt.NDArray[np.int64], begin: int, end: int) -> npt.NDArray[np.int64]:
    low, high = np.searchsorted(times, [begin, end], "left")
    return times[low:high]

"""A recorded drive as a world: it says again what it recorded, at the instants at which it was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetloop.domain.clips import ClipError, Drive, DriveSignal, Image
from fleetloop.domain.frames import Column, FrameBatch


@dataclass(frozen=True, slots=True)
class Stretch:
    """A batch, and the pictures that were taken meanwhile."""

    batch: FrameBatch
    images: Sequence[tuple[str, Image]]
    """(camera, picture) in the order of time."""


class RecordedDrive:
    """Cuts a drive into batches. Nothing is resampled: a signal that has its own times keeps them."""

    def __init__(self, drive: Drive, frames_per_batch: int = 100) -> None:
        """A drive's frames are the instants of its finest signal. Raises ClipError when it has no signal."""
        signals = {name: signal for name, signal in drive.signals.items() if signal.rows()}
        if not signals:
            raise ClipError("drive", "has no signal to send")
        self.drive = drive
        self._signals = signals
        self._frames = max(signals.values(), key=DriveSignal.rows).times_ns
        first, last = drive.span_ns()
        # A batch begins at one of the frames; the first and the last take in what lies before and after all frames.
        cuts = self._frames[frames_per_batch::frames_per_batch]
        self._edges = np.unique(np.concatenate([[first], cuts[cuts > first], [last + 1]]))

    @property
    def frames(self) -> int:
        """Frames of the whole drive."""
        return len(self._frames)

    def __len__(self) -> int:
        """Batches of the whole drive."""
        return len(self._edges) - 1

    def stretches(
        self, fleet_id: str, vehicle_id: str, boot_id: bytes, *, first: int = 0, start_utc_ns: int | None = None
    ) -> Iterator[Stretch]:
        """The drive from batch `first` on, under another vehicle's name; the same call gives the same batches.

        `start_utc_ns` lets it begin at another time than it was recorded at.
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

"""The last minutes of a vehicle in memory, from which clips are cut.

Pictures stay raw: encoding them as PNG would cost more than everything else, and most are never requested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fleetloop.domain.clips import DriveInfo, DriveSignal, DriveWriter, Image
from fleetloop.domain.frames import FrameBatch
from vehicle_agent.model import ClipRequest


class Availability(Enum):
    """Whether the buffer has the seconds of a request."""

    READY = "ready"
    WAITING = "waiting"
    """The last requested instant has not been recorded yet."""
    GONE = "gone"
    """The moment of the firing is no longer in the buffer."""


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """All cameras at one instant as raw uint8 [cameras, H, W, 3], or one camera's encoded picture."""

    time_ns: int
    raw: npt.NDArray[np.uint8] | None = None
    cameras: tuple[str, ...] = ()
    packed: Image | None = None


@dataclass(frozen=True, slots=True)
class ClipContent:
    """The content of a clip. Cutting it is fast; writing it is slow and can be done in another thread."""

    info: DriveInfo
    start_ns: int
    end_ns: int
    batches: tuple[FrameBatch, ...]
    camera_frames: tuple[CameraFrame, ...]
    cameras: tuple[str, ...]


class RingBuffer:
    """The frames and pictures of one boot over the last `horizon_ns` of the vehicle's monotonic clock."""

    def __init__(self, horizon_ns: int) -> None:
        self._horizon_ns = horizon_ns
        self._batches: deque[FrameBatch] = deque()
        self._camera_frames: deque[CameraFrame] = deque()
        self._evicted = False
        self.latest_ns = -1
        """Time up to which signals are complete."""

    @property
    def oldest_ns(self) -> int | None:
        """Start of the oldest batch; None while the buffer is empty."""
        return self._batches[0].start_monotonic_ns if self._batches else None

    def add_batch(self, batch: FrameBatch, until_ns: int | None = None) -> None:
        """Append a batch and drop old ones. Signals are then complete to `until_ns`, or to the batch's last frame."""
        self._batches.append(batch)
        self.latest_ns = max(self.latest_ns, batch.end_monotonic_ns() if until_ns is None else until_ns)
        horizon = self.latest_ns - self._horizon_ns
        while len(self._batches) > 1 and self._batches[1].start_monotonic_ns <= horizon:
            self._batches.popleft()
            self._evicted = True
        while self._camera_frames and self._camera_frames[0].time_ns < self._batches[0].start_monotonic_ns:
            self._camera_frames.popleft()

    def add_camera_frame(self, frame: CameraFrame) -> None:
        """Append pictures, which are dropped with the batches of their time."""
        self._camera_frames.append(frame)

    def availability(self, request: ClipRequest) -> Availability:
        """Return whether the request can be carried out now, later, or no longer."""
        oldest = self.oldest_ns
        if self._evicted and oldest is not None and oldest > request.onset_ns:
            return Availability.GONE
        return Availability.READY if self.latest_ns >= request.end_ns else Availability.WAITING

    def cut(self, request: ClipRequest, base: DriveInfo) -> ClipContent:
        """Return the requested seconds as far as they are recorded. `base` describes the drive."""
        start, end = request.start_ns, request.end_ns
        batches = tuple(b for b in self._batches if b.start_monotonic_ns <= end and _last_ns(b) >= start)
        camera_frames = tuple(s for s in self._camera_frames if start <= s.time_ns <= end)
        begin = max(start, batches[0].start_monotonic_ns) if batches else start
        last = min(end, self.latest_ns)
        at_onset = next((b for b in reversed(batches) if b.start_monotonic_ns <= request.onset_ns), None)
        at_onset = at_onset or (batches[0] if batches else None)
        info = DriveInfo(
            vehicle_id=base.vehicle_id,
            drive_id=base.drive_id,
            start_monotonic_ns=begin,
            start_utc_ns=batches[0].start_utc_ns + begin - batches[0].start_monotonic_ns if batches else 0,
            utc_source=base.utc_source,
            fleet_id=base.fleet_id,
            boot_id=base.boot_id,
            model_digest=at_onset.model_digest if at_onset else "",
            shadow_digest=at_onset.shadow_digest if at_onset else "",
            map_version=_map_version(at_onset),
            firing_id=request.firing_id,
            command_id=request.command_id,
            trigger=request.trigger,
            onset_monotonic_ns=request.onset_ns,
            source=base.source,
        )
        return ClipContent(info, begin, max(begin, last), batches, camera_frames, request.cameras)


def write_clip(cut: ClipContent, target: BinaryIO) -> tuple[str, ...]:
    """Write a clip and return its cameras. The same content gives the same bytes."""
    cameras: set[str] = set()
    with DriveWriter(target, cut.info) as drive:
        for name, signal in sorted(joined_signals(cut.batches).items()):
            part = signal.between(cut.start_ns, cut.end_ns)
            if part.rows():
                drive.signal(name, part.times_ns, part.values, part.splits, part.dictionary)
        for frame in cut.camera_frames:
            for camera, picture in _pictures(frame):
                if cut.cameras and camera not in cut.cameras:
                    continue
                cameras.add(camera)
                if isinstance(picture, bytes):
                    drive.png(camera, frame.time_ns, picture)
                else:
                    drive.image(camera, frame.time_ns, picture)
    return tuple(sorted(cameras))


def joined_signals(batches: Sequence[FrameBatch]) -> dict[str, DriveSignal]:
    """Concatenate the columns of consecutive batches. Columns with another dictionary than the first are left out."""
    parts: dict[str, list[DriveSignal]] = {}
    for batch in batches:
        for name, column in batch.columns.items():
            offsets = batch.frame_offsets_ns if column.offsets_ns is None else column.offsets_ns
            times = offsets.astype(np.int64) + batch.start_monotonic_ns
            known = parts.setdefault(name, [])
            if not known or known[0].dictionary == column.dictionary:
                known.append(DriveSignal(times, column.values, column.splits, column.dictionary))
    return {name: _joined(pieces) for name, pieces in parts.items()}


def _joined(pieces: list[DriveSignal]) -> DriveSignal:
    splits = None
    if pieces[0].splits is not None:
        counts = np.concatenate(
            [np.diff(piece.splits.astype(np.int64)) for piece in pieces if piece.splits is not None]
        )
        splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]).astype(np.uint32)
    return DriveSignal(
        np.concatenate([piece.times_ns for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
        splits,
        pieces[0].dictionary,
    )


def _last_ns(batch: FrameBatch) -> int:
    ends = [int(c.offsets_ns[-1]) for c in batch.columns.values() if c.offsets_ns is not None and len(c.offsets_ns)]
    return max(batch.end_monotonic_ns(), batch.start_monotonic_ns + max(ends, default=0))


def _map_version(batch: FrameBatch | None) -> int:
    column = batch.columns.get("Map.Version") if batch else None
    return int(column.values[-1]) if column is not None and len(column.values) else 0


def _pictures(frame: CameraFrame) -> Sequence[tuple[str, npt.NDArray[np.uint8] | bytes]]:
    if frame.packed is not None:
        return [(frame.cameras[0], frame.packed.png)]
    assert frame.raw is not None
    return list(zip(frame.cameras, frame.raw, strict=True))


Rings = Mapping[bytes, RingBuffer]
"""Ring buffers by boot."""

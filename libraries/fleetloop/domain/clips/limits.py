"""What a clip from outside may hold. Its file may be small and still unpack to any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetloop.domain.clips.layout import MAX_SIDE
from fleetloop.domain.clips.model import ClipError, DriveInfo
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import seconds_to_ns

LATEST_NS = 2**62 - 1
"""The latest instant of any clock: in the year 2116, far from the end of a signed 64-bit number."""
_LONGEST_TEXT = 1024


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """Limits on one drive or clip. The defaults are those of recordings that users import themselves."""

    unpacked_bytes: int = 2 * 1024**3
    """Most bytes of all chunks together, unpacked."""
    chunk_bytes: int = 256 * 1024**2
    """Most bytes of one chunk, unpacked."""
    messages: int = 10_000_000
    """Most signal chunks and pictures."""
    channels: int = 4096
    """Most signals and cameras."""
    longest_s: float = 366 * 86_400.0
    """Most seconds from the first to the last picture."""
    pictures: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Camera -> width and height of its pictures in pixels. Empty: any cameras, with at most `side` on a side."""
    side: int = MAX_SIDE
    """Largest width and height in pixels of a picture whose camera has no size of its own."""

    def check_info(self, info: DriveInfo) -> None:
        """Raises ClipError for metadata that no service can store or compute with."""
        times = {
            "start_monotonic_ns": info.start_monotonic_ns,
            "start_utc_ns": info.start_utc_ns,
            "onset_monotonic_ns": info.onset_monotonic_ns,
        }
        for name, time_ns in times.items():
            if not -1 <= time_ns <= LATEST_NS:
                raise ClipError(f"metadata.{name}", "is not nanoseconds before the year 2116")
        if not 0 <= info.map_version < 2**31:
            raise ClipError("metadata.map_version", f"is not between 0 and {2**31 - 1}")
        for name in ("vehicle_id", "drive_id", "fleet_id", "firing_id", "command_id", "trigger", "source"):
            text = getattr(info, name)
            if len(text) > _LONGEST_TEXT or not text.isprintable():
                raise ClipError(f"metadata.{name}", f"must be at most {_LONGEST_TEXT} printable characters")

    def check_times(self, where: str, first_ns: int, last_ns: int) -> None:
        """Raises ClipError unless 0 <= first <= last, and both are within the limits."""
        if not 0 <= first_ns <= last_ns <= LATEST_NS:
            raise ClipError(where, f"has a time that is not between 0 and {LATEST_NS}")
        if last_ns - first_ns > seconds_to_ns(self.longest_s):
            raise ClipError(where, f"spans more than {self.longest_s:g} s")

    def check_picture(self, where: str, camera: str, size: tuple[int, int]) -> None:
        """Raises ClipError for a picture whose size is not the camera's. `size` is width and height in pixels."""
        wanted = self.pictures.get(camera)
        if wanted is not None and size != wanted:
            raise ClipError(
                where, f"is {size[0]} x {size[1]}; config/tasks.yaml says {wanted[0]} x {wanted[1]} for this camera"
            )
        if max(size) > self.side or min(size) < 1:
            raise ClipError(where, f"is {size[0]} x {size[1]}, at most {self.side} on a side")


RECORDING = ClipLimits()
"""The limits on recordings that users import themselves."""


def clip_limits(schema: TaskSchema, unpacked_bytes: int) -> ClipLimits:
    """The limits on clips that vehicles send: the schema's cameras and sizes, an hour, and bounded memory."""
    return ClipLimits(
        unpacked_bytes=unpacked_bytes,
        chunk_bytes=min(unpacked_bytes, RECORDING.chunk_bytes),
        messages=500_000,
        channels=2048,
        longest_s=3600.0 + 60.0,
        pictures={camera.name: (camera.width, camera.height) for camera in schema.cameras},
    )

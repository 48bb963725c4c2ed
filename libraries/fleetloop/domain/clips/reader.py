"""Reads drives and clips. The files come from vehicles and from users, so that all their content is validated."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard
from mcap.records import Channel, Chunk, Footer, Header, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from fleetloop.domain.clips.layout import (
    IMAGE_SCHEMA,
    IMAGE_TOPIC,
    METADATA,
    PROFILE,
    SIGNAL_SCHEMA,
    decode_png,
    picture_size,
    unpack_image,
    unpack_signal,
)
from fleetloop.domain.clips.limits import RECORDING, ClipLimits
from fleetloop.domain.clips.model import ClipError, DriveInfo, DriveSignal, Image, check_signal
from fleetloop.kit.process.clock import seconds_to_ns

_FILE = "file"


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive or clip in memory. Pictures stay encoded until `pixels` or `frames_at` decodes them."""

    info: DriveInfo
    signals: Mapping[str, DriveSignal]
    pictures: Mapping[str, tuple[Image, ...]]
    """Camera -> pictures, in the order of time."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, sorted."""
        return tuple(sorted(self.pictures))

    def span_ns(self) -> tuple[int, int]:
        """Return the first and last instant of all signals and pictures, on the drive's clock.

        Raises ClipError when the drive is empty.
        """
        times = [(int(s.times_ns[0]), int(s.times_ns[-1])) for s in self.signals.values() if s.rows()]
        times += [(p[0].time_ns, p[-1].time_ns) for p in self.pictures.values() if p]
        if not times:
            raise ClipError("drive", "holds neither a signal nor a picture")
        return min(first for first, _ in times), max(last for _, last in times)

    def images(self, camera: str) -> list[Image]:
        """Return a camera's pictures, oldest first. Raises ClipError when the drive has no such camera."""
        try:
            return list(self.pictures[camera])
        except KeyError:
            raise ClipError(
                f"camera {camera}", f"is not in it; there are {', '.join(self.cameras) or 'none'}"
            ) from None

    def pixels(self, camera: str, image: Image) -> npt.NDArray[np.uint8]:
        """Decode a picture to uint8 [H, W, 3]. Raises ClipError when it is damaged."""
        return decode_png(f"camera {camera} at {image.time_ns}", image.png)

    def frames_at(
        self, schema_cameras: Sequence[str], moment_ns: int, count: int, period_s: float
    ) -> npt.NDArray[np.uint8]:
        """Return the net's input at a moment: uint8 [count, cameras, H, W, 3], oldest frame first.

        The last frame is the newest at or before `moment_ns`; the others precede it, `period_s` apart.

        Args:
            schema_cameras: Names of the cameras, in the order of the task schema.
            moment_ns: The moment, on the drive's clock.
            count: Number of frames.
            period_s: Seconds between frames.

        Raises:
            ClipError: A camera or a frame is missing (none within half a period), or pictures differ in size.
        """
        period_ns = seconds_to_ns(period_s)
        stacks = []
        for camera in schema_cameras:
            images = self.images(camera)
            times = np.array([image.time_ns for image in images], np.int64)
            newest = int(np.searchsorted(times, moment_ns, "right")) - 1
            where = f"camera {camera}"
            if newest < 0 or moment_ns - int(times[newest]) >= 2 * period_ns:
                raise ClipError(where, f"has no frame within {2 * period_s:g} s before {moment_ns}")
            wanted = int(times[newest]) - period_ns * np.arange(count - 1, -1, -1, dtype=np.int64)
            nearest = _nearest(times, wanted)
            late = np.abs(times[nearest] - wanted) > period_ns // 2
            if bool(late.any()) or len(set(nearest.tolist())) < count:
                missing = count - len(set(nearest[~late].tolist()))
                raise ClipError(where, f"lacks {missing} of {count} frames {period_s:g} s apart before {moment_ns}")
            stacks.append([self.pixels(camera, images[index]) for index in nearest.tolist()])
        shapes = {frame.shape for stack in stacks for frame in stack}
        if len(shapes) != 1:
            raise ClipError("cameras", f"have pictures of different sizes: {sorted(shapes)}")
        return np.stack([np.stack(stack) for stack in stacks], axis=1)


def _nearest(times: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return for each wanted time the index of the nearest in `times`, which is sorted; the earlier one of two."""
    right = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    return np.where(np.abs(times[left] - wanted) <= np.abs(times[right] - wanted), left, right)


def read_drive(source: Path | bytes, limits: ClipLimits = RECORDING) -> Drive:
    """Read a drive from a file, or from the bytes of one. For clips from vehicles use `StoredClips`.

    Raises:
        ClipError: The file is foreign, damaged or truncated; the message says what is wrong.
        OSError: The file cannot be read.
    """
    content = source.read_bytes() if isinstance(source, Path) else source
    assembly = _Assembly(limits)
    try:
        for record in StreamReader(
            io.BytesIO(content), emit_chunks=True, validate_crcs=True, record_size_limit=max(1, len(content))
        ).records:
            assembly.add(record)
    except ClipError:
        raise
    except Exception as error:  # mcap raises its own errors, struct's, zstandard's, unicode's and ValueError
        raise ClipError(_FILE, f"is damaged, cut short or no MCAP file: {error!r}") from error
    return assembly.finish()


class _Assembly:
    """Builds a drive from the records of a file, in their order."""

    def __init__(self, limits: ClipLimits) -> None:
        self._limits = limits
        self._messages = 0
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Channel] = {}
        self._info: DriveInfo | None = None
        self._pieces: dict[str, list[DriveSignal]] = {}
        self._images: dict[str, list[Image]] = {}
        self._unpacked_bytes = 0
        self._has_footer = False

    def add(self, record: McapRecord) -> None:
        """Add a record. Raises ClipError when it does not belong in a drive or is too large."""
        if isinstance(record, Header):
            if record.profile != PROFILE:
                raise ClipError(_FILE, f"has the MCAP profile {record.profile!r}, not {PROFILE}: see docs/drives.md")
        elif isinstance(record, Metadata):
            if record.name == METADATA:
                self._info = DriveInfo.from_text(record.metadata)
                self._limits.check_info(self._info)
        elif isinstance(record, Chunk):
            self._unpacked_bytes += record.uncompressed_size
            limits = self._limits
            if record.uncompressed_size > limits.chunk_bytes or self._unpacked_bytes > limits.unpacked_bytes:
                raise ClipError(_FILE, f"unpacks to more than {limits.unpacked_bytes} bytes; cut it into several")
            if record.compression not in ("", "zstd"):
                raise ClipError(_FILE, f"is compressed with {record.compression}; use zstd or nothing")
            if record.compression == "zstd" and _declared_size(record.data) > record.uncompressed_size:
                raise ClipError(_FILE, "has a chunk that unpacks to more than it says")
            for inner in breakup_chunk(record, validate_crc=True):
                self.add(inner)
        elif isinstance(record, Schema):
            self._schemas[record.id] = record.name
        elif isinstance(record, Channel):
            self._channels[record.id] = record
            if len(self._channels) > self._limits.channels:
                raise ClipError(_FILE, f"has more than {self._limits.channels} signals and cameras")
        elif isinstance(record, Message):
            self._message(record)
        elif isinstance(record, Footer):
            self._has_footer = True

    def _message(self, message: Message) -> None:
        self._messages += 1
        if self._messages > self._limits.messages:
            raise ClipError(_FILE, f"has more than {self._limits.messages} messages")
        channel = self._channels.get(message.channel_id)
        if channel is None:
            raise ClipError(_FILE, f"has a message of channel {message.channel_id}, which it does not describe")
        schema = self._schemas.get(channel.schema_id, "")
        if schema == SIGNAL_SCHEMA:
            name = channel.topic
            words = _words(name, channel.metadata.get("dictionary", "[]"))
            kind, ragged = channel.metadata.get("dtype", ""), channel.metadata.get("ragged") == "1"
            self._pieces.setdefault(name, []).append(unpack_signal(name, message.data, kind, ragged, words))
        elif schema == IMAGE_SCHEMA and channel.topic.startswith(IMAGE_TOPIC):
            camera = channel.topic.removeprefix(IMAGE_TOPIC)
            where = f"camera {camera}"
            png = unpack_image(f"{where} at {message.publish_time}", message.data)
            self._limits.check_picture(where, camera, picture_size(where, png))
            self._images.setdefault(camera, []).append(Image(message.publish_time, png))

    def finish(self) -> Drive:
        """Return the drive. Raises ClipError when the file was truncated or its signals are inconsistent."""
        if not self._has_footer:
            raise ClipError(_FILE, "is cut short: its footer is missing")
        if self._info is None:
            raise ClipError(f"metadata {METADATA}", "is missing")
        signals = {name: _joined(name, pieces) for name, pieces in self._pieces.items()}
        for name, signal in signals.items():
            check_signal(name, signal)
            if signal.rows():
                self._limits.check_times(f"signal {name}", int(signal.times_ns[0]), int(signal.times_ns[-1]))
        pictures = {camera: tuple(sorted(i, key=lambda image: image.time_ns)) for camera, i in self._images.items()}
        for camera, images in pictures.items():
            self._limits.check_times(f"camera {camera}", images[0].time_ns, images[-1].time_ns)
        return Drive(self._info, signals, pictures)


def _declared_size(data: bytes) -> int:
    """Return the unpacked size that a zstd frame declares; 0 when it declares none."""
    size: int = zstandard.frame_content_size(data)
    return max(0, size)


def _words(name: str, text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ClipError(f"signal {name}.dictionary", "is not a JSON list of strings")
    return tuple(words)


def _joined(name: str, pieces: list[DriveSignal]) -> DriveSignal:
    """Concatenate the pieces of a signal. Raises ClipError when they differ in type."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    if len({(piece.values.dtype, piece.splits is None) for piece in pieces}) > 1:
        raise ClipError(f"signal {name}", "changes its type within the file")
    splits = None
    if first.splits is not None:
        # Each piece's splits begin at 0; in the concatenation they begin where the previous pieces' values end.
        ends = np.cumsum([0, *(len(piece.values) for piece in pieces)])
        parts = [piece.splits[1:] + end for piece, end in zip(pieces, ends, strict=False) if piece.splits is not None]
        splits = np.concatenate([np.zeros(1, np.int64), *parts]).astype(np.uint32)
    return DriveSignal(
        np.concatenate([piece.times_ns for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
        splits,
        first.dictionary,
    )

"""Writes drives and clips. The same input gives the same bytes, so a clip can be named by its digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt
from mcap.writer import CompressionType, Writer

from fleetloop.domain.clips.layout import (
    IMAGE_JSON_SCHEMA,
    IMAGE_SCHEMA,
    IMAGE_TOPIC,
    METADATA,
    PROFILE,
    SIGNAL_ENCODING,
    SIGNAL_SCHEMA,
    encode_png,
    pack_image,
    pack_signal,
)
from fleetloop.domain.clips.model import ClipError, DriveInfo, DriveSignal, check_signal
from fleetloop.kit.process.atomic_file import replacing
from fleetloop.kit.process.clock import seconds_to_ns

_CHUNK_NS = seconds_to_ns(10)
"""A message holds at most so much of a signal, so that a reader can look into a long drive."""


class DriveWriter:
    """A context manager. Given a path, the file appears whole when the block is left, or not at all."""

    def __init__(self, target: Path | BinaryIO, info: DriveInfo) -> None:
        """Raises ClipError when `info` lacks a name, OSError when the file cannot be written."""
        DriveInfo.from_text(info.to_text())
        self._closing = ExitStack()
        """Closes the draft and puts it in place, where the target is a path."""
        if isinstance(target, Path):
            draft = self._closing.enter_context(replacing(target, sync=True))
            self._file: BinaryIO = self._closing.enter_context(draft.open("wb"))
        else:
            self._file = target
        self._info = info
        self._mcap = Writer(self._file, compression=CompressionType.ZSTD, enable_data_crcs=True)
        self._mcap.start(profile=PROFILE, library="fleetloop")
        self._mcap.add_metadata(METADATA, info.to_text())
        self._signal_schema = self._mcap.register_schema(SIGNAL_SCHEMA, "", b"")
        self._image_schema = 0
        self._signals: dict[str, tuple[int, str, bool, tuple[str, ...], int]] = {}
        self._cameras: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._closing.__exit__(kind, error, trace)
            return
        with self._closing:
            self._mcap.finish()  # type: ignore[no-untyped-call]

    def signal(
        self,
        name: str,
        times_ns: npt.NDArray[np.int64],
        values: npt.NDArray[np.generic],
        splits: npt.NDArray[np.uint32] | None = None,
        dictionary: Sequence[str] = (),
    ) -> None:
        """Adds instants of a signal; further calls for the same name go on in time.

        `times_ns` is the drive's monotonic clock. Raises ClipError that names the part at fault.
        """
        signal = DriveSignal(times_ns, values, splits, tuple(dictionary))
        check_signal(name, signal)
        kind = values.dtype.newbyteorder("=").name
        known = self._signals.get(name)
        if known is None:
            metadata = {"dtype": kind, "ragged": "1" if splits is not None else "0"}
            if dictionary:
                metadata["dictionary"] = json.dumps(list(dictionary))
            channel = self._mcap.register_channel(name, SIGNAL_ENCODING, self._signal_schema, metadata)
            known = (channel, kind, splits is not None, signal.dictionary, 0)
        elif known[1:4] != (kind, splits is not None, signal.dictionary):
            raise ClipError(f"signal {name}", "has another type, shape or dictionary than before")
        elif len(times_ns) and int(times_ns[0]) < known[4]:
            raise ClipError(f"signal {name}.times_ns", "begin before the ones that were written")
        begin = int(times_ns[0]) if len(times_ns) else 0
        last = int(times_ns[-1]) if len(times_ns) else known[4]
        for first in range(begin, last + 1, _CHUNK_NS) if len(times_ns) else ():
            piece = signal.between(first, min(first + _CHUNK_NS - 1, last))
            if piece.rows():
                self._add(known[0], int(piece.times_ns[0]), pack_signal(piece))
        self._signals[name] = (*known[:4], last)

    def image(self, camera: str, time_ns: int, pixels: npt.NDArray[np.uint8]) -> None:
        """Adds a picture, uint8 [H, W, 3]; a camera's pictures come in the order of time. Raises ClipError."""
        self.png(camera, time_ns, encode_png(pixels))

    def png(self, camera: str, time_ns: int, png: bytes) -> None:
        """Adds a picture that is a PNG already."""
        where = f"camera {camera}"
        if not camera or "/" in camera or not camera.isprintable():
            raise ClipError(where, "use a name such as front_main")
        if not self._image_schema:
            self._image_schema = self._mcap.register_schema(IMAGE_SCHEMA, "jsonschema", IMAGE_JSON_SCHEMA)
        known = self._cameras.get(camera)
        if known is None:
            channel = self._mcap.register_channel(IMAGE_TOPIC + camera, "json", self._image_schema)
        else:
            channel = known[0]
            if time_ns <= known[1]:
                raise ClipError(where, f"a picture at {time_ns} comes after one at {known[1]}")
        if time_ns < 0:
            raise ClipError(where, "a picture's time is negative")
        self._cameras[camera] = (channel, time_ns)
        self._add(channel, time_ns, pack_image(png, camera, max(0, self._info.utc_ns(time_ns))))

    def _add(self, channel: int, monotonic_ns: int, data: bytes) -> None:
        self._mcap.add_message(channel, max(0, self._info.utc_ns(monotonic_ns)), data, monotonic_ns)

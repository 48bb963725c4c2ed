"""The layout of signals and pictures in the file: names, schemas, and the encoding of messages."""

from __future__ import annotations

import base64
import io
import json
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures

from fleetloop.domain.clips.model import DTYPES, ClipError, DriveSignal
from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND

PROFILE = "fleetloop.drive.1"
METADATA = "fleetloop.drive"
SIGNAL_SCHEMA = "fleetloop.SignalChunk"
SIGNAL_ENCODING = "fleetloop.columns"
IMAGE_SCHEMA = "foxglove.CompressedImage"
IMAGE_TOPIC = "/camera/"
_HEADER = struct.Struct("<II")
"""Number of rows, number of values."""
MAX_SIDE = 8192
"""Largest width and height of a picture in pixels, which bounds the memory to decode it."""

IMAGE_JSON_SCHEMA = json.dumps(
    {
        "title": IMAGE_SCHEMA,
        "type": "object",
        "properties": {
            "timestamp": {
                "type": "object",
                "title": "time",
                "properties": {"sec": {"type": "integer", "minimum": 0}, "nsec": {"type": "integer", "minimum": 0}},
            },
            "frame_id": {"type": "string"},
            "data": {"type": "string", "contentEncoding": "base64"},
            "format": {"type": "string"},
        },
    },
    sort_keys=True,
).encode()


def pack_signal(signal: DriveSignal) -> bytes:
    """Encode a signal: the numbers of rows and values as uint32, times as int64, the values, and for lists the splits
    as uint32. All are little-endian.
    """
    values = signal.values
    parts = [
        _HEADER.pack(signal.rows(), len(values)),
        signal.times_ns.astype("<i8", copy=False).tobytes(),
        values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes(),
    ]
    if signal.splits is not None:
        parts.append(signal.splits.astype("<u4", copy=False).tobytes())
    return b"".join(parts)


def unpack_signal(name: str, data: bytes, kind: str, ragged: bool, dictionary: tuple[str, ...]) -> DriveSignal:
    """Decode what `pack_signal` encoded; the arrays share the memory of `data`.

    Raises ClipError when `kind` is unknown or the bytes do not fit the header.
    """
    if kind not in DTYPES:
        raise ClipError(f"signal {name}.dtype", f"{kind!r} is none of {', '.join(DTYPES)}")
    if len(data) < _HEADER.size:
        raise ClipError(f"signal {name}", "a message is shorter than its header")
    rows, total = _HEADER.unpack_from(data)
    dtype = np.dtype(kind).newbyteorder("<")
    wanted = _HEADER.size + 8 * rows + dtype.itemsize * total + (4 * (rows + 1) if ragged else 0)
    if len(data) != wanted:
        raise ClipError(f"signal {name}", f"a message has {len(data)} bytes, its header says {wanted}")
    times = np.frombuffer(data, "<i8", rows, _HEADER.size)
    begin = _HEADER.size + 8 * rows
    values = np.frombuffer(data, np.uint8 if kind == "bool" else dtype, total, begin)
    if kind == "bool":
        # Any byte but 0 and 1 is undefined as a numpy bool, so the bytes are checked before the type is changed.
        if len(values) and int(values.max()) > 1:
            raise ClipError(f"signal {name}.values", "a bool is the byte 0 or 1")
        values = values.view(np.bool_)
    splits = np.frombuffer(data, "<u4", rows + 1, begin + dtype.itemsize * total) if ragged else None
    return DriveSignal(times, values, splits, dictionary)


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W, 3] as a PNG, with the same bytes every time. Raises ClipError for another shape or type."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ClipError("pixels", f"want uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    buffer = io.BytesIO()
    Pictures.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def picture_size(where: str, png: bytes) -> tuple[int, int]:
    """Width and height in pixels that a PNG or JPEG declares, without decoding it. Raises ClipError."""
    try:
        with Pictures.open(io.BytesIO(png), formats=("PNG", "JPEG")) as picture:
            return picture.size
    except Exception as error:  # for damaged pictures Pillow raises exceptions of many types
        raise ClipError(where, f"is not a readable PNG: {error}") from error


def decode_png(where: str, png: bytes) -> npt.NDArray[np.uint8]:
    """Decode a PNG or JPEG to uint8 [H, W, 3]. Raises ClipError when it is damaged or larger than `MAX_SIDE`."""
    try:
        with Pictures.open(io.BytesIO(png), formats=("PNG", "JPEG")) as picture:
            if max(picture.size) > MAX_SIDE:
                raise ClipError(where, f"is {picture.size[0]} x {picture.size[1]}, at most {MAX_SIDE} on a side")
            return np.asarray(picture.convert("RGB"), np.uint8)
    except ClipError:
        raise
    except Exception as error:  # for damaged pictures Pillow raises exceptions of many types
        raise ClipError(where, f"is not a readable PNG: {error}") from error


def pack_image(png: bytes, camera: str, utc_ns: int) -> bytes:
    """Encode a picture as a foxglove.CompressedImage in JSON."""
    seconds, nanoseconds = divmod(utc_ns, NANOSECONDS_PER_SECOND)
    return json.dumps(
        {
            "timestamp": {"sec": seconds, "nsec": nanoseconds},
            "frame_id": camera,
            "format": "png",
            "data": base64.b64encode(png).decode(),
        }
    ).encode()


def unpack_image(where: str, data: bytes) -> bytes:
    """Return the bytes of the picture in a foxglove.CompressedImage. Raises ClipError when it is not one."""
    try:
        message = json.loads(data)
        return base64.b64decode(message["data"], validate=True)
    except (ValueError, TypeError, KeyError) as error:
        raise ClipError(where, f"is not a foxglove.CompressedImage in JSON: {error!r}") from error

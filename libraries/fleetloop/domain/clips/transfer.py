"""How a drive travels from the process that reads it to the one that asked: lengths and bytes, nothing to execute.

A message is a header in JSON, preceded by its length, and then the bodies whose lengths the header lists. The reader
of a message believes nothing: bodies are decoded and checked like those of a file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import IO, Any

from fleetloop.domain.clips.layout import pack_signal, unpack_signal
from fleetloop.domain.clips.limits import ClipLimits
from fleetloop.domain.clips.model import ClipError, DriveInfo, Image, check_signal
from fleetloop.domain.clips.reader import Drive

_LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 64 * 1024**2
Read = Callable[[int], bytes]
"""Returns exactly that many bytes. Raises EOFError when there are fewer."""


def send(stream: IO[bytes], header: dict[str, Any], bodies: Sequence[bytes] = ()) -> None:
    """Write one message."""
    raw = json.dumps({**header, "bodies": [len(body) for body in bodies]}).encode()
    stream.write(_LENGTH.pack(len(raw)) + raw)
    for body in bodies:
        stream.write(body)
    stream.flush()


def receive(read: Read, most_bytes: int) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message. Raises ClipError when it has more than `most_bytes`, and EOFError when it is cut short."""
    (length,) = _LENGTH.unpack(read(_LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise ClipError("file", f"has more than {MAX_HEADER_BYTES} bytes of names")
    header = json.loads(read(length))
    lengths = [int(size) for size in header.get("bodies", [])]
    if min(lengths, default=0) < 0 or sum(lengths) > most_bytes:
        raise ClipError("file", f"holds more than {most_bytes} bytes")
    return header, [read(size) for size in lengths]


def drive_message(drive: Drive) -> tuple[dict[str, Any], list[bytes]]:
    """The header and bodies of a drive."""
    bodies, signals, pictures = [], [], []
    for name, signal in drive.signals.items():
        kind = signal.values.dtype.newbyteorder("=").name
        signals.append([name, kind, signal.splits is not None, list(signal.dictionary)])
        bodies.append(pack_signal(signal))
    for camera, images in drive.pictures.items():
        for image in images:
            pictures.append([camera, image.time_ns])
            bodies.append(image.png)
    return {"info": drive.info.to_text(), "signals": signals, "pictures": pictures}, bodies


def drive_from(header: dict[str, Any], bodies: Sequence[bytes], limits: ClipLimits) -> Drive:
    """The drive in a message. Raises ClipError when it is none."""
    try:
        signals_given, pictures_given = list(header["signals"]), list(header["pictures"])
        info = DriveInfo.from_text({str(name): str(text) for name, text in header["info"].items()})
        limits.check_info(info)
        parts = iter(bodies)
        signals = {}
        for name, kind, ragged, words in signals_given:
            signal = unpack_signal(str(name), next(parts), str(kind), bool(ragged), tuple(map(str, words)))
            check_signal(str(name), signal)
            signals[str(name)] = signal
        pictures: dict[str, list[Image]] = {}
        for camera, time_ns in pictures_given:
            limits.check_times(f"camera {camera}", int(time_ns), int(time_ns))
            pictures.setdefault(str(camera), []).append(Image(int(time_ns), next(parts)))
    except ClipError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ClipError("file", f"was not read: {error!r}") from error
    return Drive(info, signals, {camera: tuple(images) for camera, images in pictures.items()})


def limits_message(limits: ClipLimits) -> dict[str, Any]:
    """Limits as JSON."""
    return asdict(limits)


def limits_from(raw: dict[str, Any]) -> ClipLimits:
    """The limits in JSON."""
    sizes = {str(camera): (int(size[0]), int(size[1])) for camera, size in raw.pop("pictures").items()}
    return ClipLimits(**raw, pictures=sizes)

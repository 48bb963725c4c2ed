"""Contents of clips that nothing may be made of. The gateway does not read what is in a clip, so they arrive.

The label desk and the dataset curator open them. Neither may end, wait or use much memory because of one; the curator
must refuse the sample, and every other sample must get into its dataset.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from mcap.writer import CompressionType, Writer

from fleetloop.domain.clips import DriveInfo
from fleetloop.domain.clips.layout import IMAGE_JSON_SCHEMA, IMAGE_SCHEMA, METADATA, PROFILE, encode_png, pack_image

_MIB = 1024 * 1024
Make = Callable[[DriveInfo, str, int], bytes]
"""From what the clip says of itself, a camera, and the nanoseconds of the picture that is asked for."""


def clip_with_picture(info: DriveInfo, camera: str, png: bytes, time_ns: int, times: int = 1) -> bytes:
    """A clip with one picture, `times` times, written without the checks of our own writer."""
    target = io.BytesIO()
    writer = Writer(target, compression=CompressionType.ZSTD, chunk_size=4 * _MIB)
    writer.start(PROFILE)
    writer.add_metadata(METADATA, info.to_text())
    schema = writer.register_schema(IMAGE_SCHEMA, "jsonschema", IMAGE_JSON_SCHEMA)
    channel = writer.register_channel(f"/camera/{camera}", "json", schema)
    body = pack_image(png, camera, 0)
    for _ in range(times):
        writer.add_message(channel, time_ns, body, time_ns)
    writer.finish()  # type: ignore[no-untyped-call]
    return target.getvalue()


def black_png(side: int) -> bytes:
    """A PNG of `side` x `side` black pixels: a few kilobytes that decode to many megabytes."""
    return encode_png(np.zeros((side, side, 3), np.uint8))


def _huge(info: DriveInfo, camera: str, at_ns: int) -> bytes:
    return clip_with_picture(info, camera, black_png(4096), at_ns)


def _late(info: DriveInfo, camera: str, at_ns: int) -> bytes:
    return clip_with_picture(info, camera, black_png(32), 2**63)


def _bomb(info: DriveInfo, camera: str, at_ns: int) -> bytes:
    return clip_with_picture(info, camera, black_png(32) + bytes(2 * _MIB), at_ns, 300)


def _no_picture(info: DriveInfo, camera: str, at_ns: int) -> bytes:
    return clip_with_picture(info, camera, bytes(range(64)), at_ns)


HOSTILE: Mapping[str, Make] = {
    "a clip with a picture of 4096 x 4096": _huge,
    "a clip with a picture time of 2^63": _late,
    "a clip of 114 kB that unpacks to 800 MB": _bomb,
    "a clip with a picture that is no PNG": _no_picture,
}

"""Clips in the object store, for tests: stored under their digest, as the gateway stores them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from fleetloop.domain.clips.limits import clip_limits
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.storage.objects import Objects

UNPACKED_BYTES = 64 * 1024 * 1024


def put_clip(objects: Objects, content: bytes) -> str:
    """Store the bytes of a clip; its address."""
    address = f"demo/clips/2026-11-28/{hashlib.sha256(content).hexdigest()}.mcap"
    objects.put_once(address, content)
    return address


@contextmanager
def reading(objects: Objects, schema: TaskSchema, unpacked_bytes: int = UNPACKED_BYTES) -> Iterator[StoredClips]:
    """A reader of clips, whose process ends with the block."""
    clips = StoredClips(objects, clip_limits(schema, unpacked_bytes))
    try:
        yield clips
    finally:
        clips.close()

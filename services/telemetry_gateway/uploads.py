"""Uploads of clips: partial files on this gateway's disk, whole clips in the object store, announcements in Kafka.

Every step can be repeated, so a kill between any two of them loses nothing:

1. Bytes are appended to the part. Its length is the offset from which an upload resumes.
2. The digest of the whole part is checked. A damaged part is deleted and the vehicle restarts the upload.
3. The clip is stored under its digest, unless it is stored already.
4. The receipt is stored. It holds the announcement and proves that this vehicle has sent the bytes.
5. The announcement goes to Kafka.
6. The part is deleted.
7. The vehicle receives the answer and deletes its copy.

A vehicle that received no answer retries. Before step 4 it resumes the part; after step 4 the gateway repeats the
announcement of the receipt, with the same event id. Only the gateway that holds a part can resume it; on another
gateway the upload starts at the beginning.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetloop.kit.messaging.producer import Publisher
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.objects import ObjectMissingError, Objects, object_address
from fleetloop.protos.clip.v1 import clip_pb2
from telemetry_gateway.codec import clip_event, repeated_announcement, stored_clip
from telemetry_gateway.core import MCAP_MAGIC
from telemetry_gateway.metrics import CLIPS, UPLOAD_BYTES
from telemetry_gateway.model import Clip, FieldError

MAX_CHUNK_BYTES = 1024 * 1024
_SUPERSEDE_S = 5.0


class DamagedClipError(Exception):
    """The bytes do not match the digest. The part was deleted; the vehicle restarts the upload."""


class UnfinishedClipError(Exception):
    """The stream ended, or a newer upload superseded it, before all bytes had arrived. The vehicle resumes."""


class TooManyUploadsError(Exception):
    """The vehicle has the maximum number of unfinished uploads."""


class _Writer:
    """The upload that writes to a part."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        """What the upload has when it is finished."""
        self.superseded = asyncio.Event()
        """Set by a newer upload of the same clip: this one has to stop."""
        self.stopped = asyncio.Event()


class Uploads:
    """Receives clips, resumes interrupted uploads, and deletes abandoned ones."""

    def __init__(
        self,
        folder: Path,
        objects: Objects,
        publisher: Publisher,
        clock: Clock,
        fleet_id: str,
        max_open: int,
        max_bytes: int,
    ) -> None:
        """Takes the limits of one vehicle: unfinished uploads, and the bytes of all of them."""
        self._folder = folder
        self._objects = objects
        self._publisher = publisher
        self._clock = clock
        self._fleet_id = fleet_id
        self._max_open = max_open
        self._max_bytes = max_bytes
        self._writers: dict[Path, _Writer] = {}

    async def progress(self, vehicle_id: str, sha256: str) -> tuple[int, bool]:
        """The offset from which to resume, and whether the clip is stored already."""
        if await self._receipt(vehicle_id, sha256) is not None:
            return 0, True
        return _size(self._part(vehicle_id, sha256)), False

    async def receive(
        self, clip: Clip, chunks: AsyncIterator[tuple[int, bytes]], admitted: Callable[[], None]
    ) -> tuple[clip_pb2.ClipStored, bool]:
        """Stores a clip and returns its announcement, once Kafka has it, and whether the clip was stored before.

        Args:
            clip: The header of the upload.
            chunks: Pairs of an offset and the bytes from there on.
            admitted: Raises when the vehicle is no longer admitted; called for every chunk.

        Raises FieldError, DamagedClipError, UnfinishedClipError or TooManyUploadsError.
        """
        receipt = await self._receipt(clip.vehicle_id, clip.sha256)
        part = self._part(clip.vehicle_id, clip.sha256)
        if receipt is not None:
            message = repeated_announcement(receipt, clip)
            await self._publisher.publish([clip_event(message)])
            if part not in self._writers:  # left by a gateway that died, or failed, after step 4
                part.unlink(missing_ok=True)
            CLIPS.labels("repeated").inc()
            return message, True
        await self._supersede(part)
        self._make_room(clip, part)
        with self._writing(part, clip.size_bytes) as writer:
            await self._append(clip, part, _until(writer.superseded, chunks), admitted)
            await asyncio.to_thread(_check_whole, clip, part)
            address = object_address(self._fleet_id, "clips", clip.start_utc_ns, clip.sha256 + ".mcap")
            await asyncio.to_thread(self._objects.put_once, address, part)
            message = stored_clip(clip, address, self._clock.now_utc_ns())
            receipt_address = self._receipt_address(clip.vehicle_id, clip.sha256)
            await asyncio.to_thread(self._objects.put_once, receipt_address, message.SerializeToString())
            await self._publisher.publish([clip_event(message)])
            part.unlink(missing_ok=True)
        CLIPS.labels("stored").inc()
        return message, False

    def expire(self, older_than_s: float) -> int:
        """Deletes parts without a new byte for `older_than_s` seconds; returns how many."""
        before_s = ns_to_seconds(self._clock.now_utc_ns()) - older_than_s
        removed = 0
        for part in self._folder.glob("*/*.part"):
            if part not in self._writers and part.stat().st_mtime < before_s:
                part.unlink(missing_ok=True)
                removed += 1
        return removed

    async def _append(
        self, clip: Clip, part: Path, chunks: AsyncIterator[tuple[int, bytes]], admitted: Callable[[], None]
    ) -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        have = _size(part)
        if have > clip.size_bytes:  # an earlier attempt gave another size; the digest decides which one was right
            await asyncio.to_thread(part.unlink)
            have = 0
        with part.open("ab", buffering=0) as file:
            async for offset, data in chunks:
                admitted()
                if len(data) > MAX_CHUNK_BYTES:
                    raise FieldError("chunk.data", f"has {len(data)} bytes, at most {MAX_CHUNK_BYTES}")
                if offset == 0 and have:  # a sender that did not call GetUpload starts at the beginning
                    file.truncate(0)
                    have = 0
                if offset != have:
                    raise FieldError("chunk.offset", f"is {offset}, but {have} comes next: call GetUpload")
                if have + len(data) > clip.size_bytes:
                    raise FieldError("chunk.data", f"goes beyond header.size_bytes, {clip.size_bytes}")
                await asyncio.to_thread(file.write, data)
                have += len(data)
                UPLOAD_BYTES.inc(len(data))
        if have < clip.size_bytes:
            raise UnfinishedClipError(f"the stream ended at {have} of {clip.size_bytes} bytes: resume from there")

    def _make_room(self, clip: Clip, part: Path) -> None:
        """Deletes the vehicle's oldest parts that no upload writes to, until this upload is within the limits.

        A vehicle that has given up an upload does not say so, and must not be locked out by what it left. Raises
        TooManyUploadsError if the uploads in progress leave no room.
        """
        idle, count, total = [], 1, clip.size_bytes
        for other in part.parent.glob("*.part"):
            if other == part:
                continue
            count += 1
            writer = self._writers.get(other)
            total += _size(other) if writer is None else writer.size_bytes
            if writer is None:
                idle.append(other)
        idle.sort(key=lambda each: (_changed_ns(each), each.name), reverse=True)
        while count > self._max_open or total > self._max_bytes:
            if not idle:
                limits = f"{self._max_open} uploads with {self._max_bytes} bytes may be unfinished"
                raise TooManyUploadsError(f"{limits}: finish one first")
            oldest = idle.pop()
            count, total = count - 1, total - _size(oldest)
            oldest.unlink(missing_ok=True)
            CLIPS.labels("abandoned").inc()

    async def _supersede(self, part: Path) -> None:
        """Stops an older upload of the same clip, whose connection is probably dead."""
        older = self._writers.get(part)
        if older is not None:
            older.superseded.set()
            await pause(older.stopped, _SUPERSEDE_S)
        if part in self._writers:
            raise UnfinishedClipError("another upload of this clip is still open: try again")

    @contextmanager
    def _writing(self, part: Path, size_bytes: int) -> Iterator[_Writer]:
        writer = self._writers[part] = _Writer(size_bytes)
        try:
            yield writer
        finally:
            del self._writers[part]
            writer.stopped.set()

    async def _receipt(self, vehicle_id: str, sha256: str) -> clip_pb2.ClipStored | None:
        try:
            content = await asyncio.to_thread(self._objects.get, self._receipt_address(vehicle_id, sha256))
        except ObjectMissingError:
            return None
        return clip_pb2.ClipStored.FromString(content)

    def _receipt_address(self, vehicle_id: str, sha256: str) -> str:
        return f"{self._fleet_id}/clip-receipts/{vehicle_id}/{sha256}.pb"

    def _part(self, vehicle_id: str, sha256: str) -> Path:
        return self._folder / vehicle_id / f"{sha256}.part"


async def _until(
    superseded: asyncio.Event, chunks: AsyncIterator[tuple[int, bytes]]
) -> AsyncIterator[tuple[int, bytes]]:
    """Yields the chunks until a newer upload supersedes this one."""
    asked = asyncio.ensure_future(superseded.wait())
    coming: asyncio.Future[tuple[int, bytes] | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next(chunks))
            both: list[asyncio.Future[Any]] = [asked, coming]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                raise UnfinishedClipError("a newer upload of this clip has superseded this one")
            chunk = coming.result()
            if chunk is None:
                return
            yield chunk
    finally:
        asked.cancel()
        if coming is not None:
            coming.cancel()


async def _next(chunks: AsyncIterator[tuple[int, bytes]]) -> tuple[int, bytes] | None:
    return await anext(chunks, None)


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _changed_ns(part: Path) -> int:
    try:
        return part.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _check_whole(clip: Clip, part: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        begin = file.read(len(MCAP_MAGIC))
        file.seek(-len(MCAP_MAGIC), 2)
        end = file.read()
    if digest != clip.sha256:
        part.unlink()
        CLIPS.labels("damaged").inc()
        raise DamagedClipError(f"header.sha256: the bytes have the digest {digest}: send the clip again")
    if begin != MCAP_MAGIC or end != MCAP_MAGIC:
        part.unlink()
        CLIPS.labels("damaged").inc()
        raise FieldError("chunk.data", "is not a complete MCAP file: it must begin and end with MCAP's magic bytes")

"""Clips on their way in: parts on this gateway's disk, whole ones in the object store, announced once Kafka has it.

Dying between any two steps leaves something to go on from, because each step can be repeated:

1. bytes are appended to the part; its length is the offset to go on from;
2. the whole part's digest is checked: a damaged one is thrown away, and the vehicle starts again;
3. the clip is stored under its digest, unless it is there;
4. the receipt is stored: it holds the announcement, and proves that this vehicle has sent the bytes;
5. the announcement goes to Kafka; 6. the part is removed; 7. the vehicle hears of it and forgets the clip.

A vehicle that did not hear of it comes again. Before 4 it goes on with the part, after 4 the receipt is announced
once more, with the same event id. A part is known only to the gateway that has it; elsewhere an upload starts anew.
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
from telemetry_gateway.codec import asked_again, clip_event, stored_clip
from telemetry_gateway.core import MCAP_MAGIC
from telemetry_gateway.metrics import CLIPS, UPLOAD_BYTES
from telemetry_gateway.model import Clip, FieldError

MAX_CHUNK_BYTES = 1024 * 1024
_TAKE_OVER_S = 5.0


class DamagedClipError(Exception):
    """The bytes do not have the digest; the part is gone."""


class UnfinishedClipError(Exception):
    """The stream ended, or somebody else took over, before all bytes were there."""


class TooManyUploadsError(Exception):
    """The vehicle has as many unfinished uploads as it may."""


class _Hold:
    """Who writes to a part: asked to let go by `wanted`, gone when `free`."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.free = asyncio.Event()


class Uploads:
    """Receives clips."""

    def __init__(
        self, folder: Path, objects: Objects, publisher: Publisher, clock: Clock, fleet_id: str, max_open: int
    ) -> None:
        self._folder = folder
        self._objects = objects
        self._publisher = publisher
        self._clock = clock
        self._fleet_id = fleet_id
        self._max_open = max_open
        self._receiving: dict[Path, _Hold] = {}

    async def progress(self, vehicle_id: str, sha256: str) -> tuple[int, bool]:
        """(offset to go on from, whether the clip is stored)."""
        if await self._receipt(vehicle_id, sha256) is not None:
            return 0, True
        return _size(self._part(vehicle_id, sha256)), False

    async def receive(
        self, clip: Clip, chunks: AsyncIterator[tuple[int, bytes]], admitted: Callable[[], None]
    ) -> tuple[clip_pb2.ClipStored, bool]:
        """The announcement that Kafka has, and whether the clip had been stored before.

        `chunks` are (offset, bytes); `admitted` raises when the vehicle may no longer speak. Raises FieldError,
        DamagedClipError, UnfinishedClipError and TooManyUploadsError.
        """
        receipt = await self._receipt(clip.vehicle_id, clip.sha256)
        if receipt is not None:
            message = asked_again(receipt, clip)
            await self._publisher.publish([clip_event(message)])
            CLIPS.labels("repeated").inc()
            return message, True
        part = self._part(clip.vehicle_id, clip.sha256)
        if not part.exists() and len(list(part.parent.glob("*.part"))) >= self._max_open:
            raise TooManyUploadsError(f"{self._max_open} uploads are unfinished; finish one or let it expire")
        await self._take_over(part)
        with self._holding(part) as hold:
            await self._append(clip, part, _until(hold.wanted, chunks), admitted)
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
        """Removes parts that nobody has written to for so long; returns how many."""
        before_s = ns_to_seconds(self._clock.now_utc_ns()) - older_than_s
        removed = 0
        for part in self._folder.glob("*/*.part"):
            if part not in self._receiving and part.stat().st_mtime < before_s:
                part.unlink(missing_ok=True)
                removed += 1
        return removed

    async def _append(
        self, clip: Clip, part: Path, chunks: AsyncIterator[tuple[int, bytes]], admitted: Callable[[], None]
    ) -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        have = _size(part)
        if have > clip.size_bytes:  # an earlier attempt said another size; the digest will tell
            await asyncio.to_thread(part.unlink)
            have = 0
        with part.open("ab", buffering=0) as file:
            async for offset, data in chunks:
                admitted()
                if len(data) > MAX_CHUNK_BYTES:
                    raise FieldError("chunk.data", f"has {len(data)} bytes, at most {MAX_CHUNK_BYTES}")
                if offset == 0 and have:  # a sender that did not ask starts at the beginning, and may
                    file.truncate(0)
                    have = 0
                if offset != have:
                    raise FieldError("chunk.offset", f"is {offset}, but {have} comes next; ask GetUpload")
                if have + len(data) > clip.size_bytes:
                    raise FieldError("chunk.data", f"goes beyond header.size_bytes, {clip.size_bytes}")
                await asyncio.to_thread(file.write, data)
                have += len(data)
                UPLOAD_BYTES.inc(len(data))
        if have < clip.size_bytes:
            raise UnfinishedClipError(f"the stream ended at {have} of {clip.size_bytes} bytes; go on from there")

    async def _take_over(self, part: Path) -> None:
        """Ends an older upload of the same clip: its connection is probably dead, and this one is not."""
        older = self._receiving.get(part)
        if older is not None:
            older.wanted.set()
            await pause(older.free, _TAKE_OVER_S)
        if part in self._receiving:
            raise UnfinishedClipError("another upload of this clip is open; try again")

    @contextmanager
    def _holding(self, part: Path) -> Iterator[_Hold]:
        hold = self._receiving[part] = _Hold()
        try:
            yield hold
        finally:
            del self._receiving[part]
            hold.free.set()

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


async def _until(wanted: asyncio.Event, chunks: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[tuple[int, bytes]]:
    """The chunks, until somebody else wants the part."""
    asked = asyncio.ensure_future(wanted.wait())
    coming: asyncio.Future[tuple[int, bytes] | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next(chunks))
            both: list[asyncio.Future[Any]] = [asked, coming]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                raise UnfinishedClipError("a newer upload of this clip has taken over")
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
        raise DamagedClipError(f"header.sha256: the bytes have the digest {digest}; send the clip again from 0")
    if begin != MCAP_MAGIC or end != MCAP_MAGIC:
        part.unlink()
        CLIPS.labels("damaged").inc()
        raise FieldError("chunk.data", "is no whole MCAP file: it must begin and end with MCAP's magic bytes")

"""Upload clips to the gateway, resuming where the last attempt stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from fleetloop.kit.process.logs import get_logger
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from vehicle_agent.clips import ClipStore
from vehicle_agent.model import ClipHeader
from vehicle_agent.senders import run_with_retries

log = get_logger(__name__)
CHUNK_BYTES = 256 * 1024
_TIMEOUT_S = 600.0


class ClipUploader:
    """Uploads one vehicle's clips one by one, highest priority first."""

    def __init__(
        self,
        fleet_id: str,
        vehicle_id: str,
        channel: grpc.aio.Channel,
        store: ClipStore,
        pause_between_chunks_s: float = 0.0,
    ) -> None:
        """Take the vehicle's store of clips. `pause_between_chunks_s` simulates a slow network."""
        self._fleet_id = fleet_id
        self._vehicle_id = vehicle_id
        self._stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        self._store = store
        self._pause_s = pause_between_chunks_s
        self._news = asyncio.Event()
        self.uploaded = 0
        self.refused = 0
        """Number of clips that the gateway refused for good. They are deleted."""
        self.bytes = 0
        """Bytes sent in chunks, including those of failed attempts."""

    def wake(self) -> None:
        """Look for clips to upload."""
        self._news.set()

    async def run(self) -> None:
        """Upload until cancelled."""
        await run_with_retries(self._vehicle_id, "upload", self._run_session)

    async def is_stored(self, sha256: str) -> bool:
        """Return whether the fleet has a clip of this vehicle. Raises grpc.aio.AioRpcError."""
        request = telemetry_pb2.GetUploadRequest(sha256=sha256, vehicle_id=self._vehicle_id)
        return bool((await self._stub.GetUpload(request, timeout=30, wait_for_ready=True)).stored)

    async def _run_session(self) -> bool:
        self._news.clear()
        waiting = self._store.waiting()
        if not waiting:
            await self._news.wait()
            return True
        for header in waiting:
            if not await asyncio.to_thread(self._store.check, header):
                continue
            try:
                await self._upload(header)
                self.uploaded += 1
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                self.refused += 1
                log.warning("clip_refused", vehicle=self._vehicle_id, details=error.details())
            except OSError as error:  # deleted meanwhile because the limit was exceeded, or the disk fails
                log.warning("clip_not_readable", vehicle=self._vehicle_id, error=str(error))
                continue
            self._store.stored(header)
        return True

    async def _upload(self, header: ClipHeader) -> None:
        """Upload a clip. Returns once the gateway has stored and announced it."""
        request = telemetry_pb2.GetUploadRequest(sha256=header.sha256, vehicle_id=self._vehicle_id)
        progress = await self._stub.GetUpload(request, timeout=30, wait_for_ready=True)
        # A stored clip is sent again without chunks: the gateway may have died before it announced the clip.
        offset = header.size_bytes if progress.stored else progress.next_offset
        messages = self._messages(header, self._store.content(header), offset)
        answer = await self._stub.UploadClip(messages, timeout=_TIMEOUT_S, wait_for_ready=True)
        log.info("clip_stored", vehicle=self._vehicle_id, address=answer.address, firing=header.firing_id)

    async def _messages(
        self, header: ClipHeader, path: Path, offset: int
    ) -> AsyncIterator[telemetry_pb2.UploadClipRequest]:
        yield telemetry_pb2.UploadClipRequest(
            header=telemetry_pb2.ClipHeader(
                sha256=header.sha256,
                size_bytes=header.size_bytes,
                fleet_id=self._fleet_id,
                vehicle_id=self._vehicle_id,
                command_id=header.command_id,
                firing_id=header.firing_id,
                start_utc_ns=header.start_utc_ns,
                end_utc_ns=header.end_utc_ns,
                cameras=header.cameras,
                boot_id=bytes.fromhex(header.boot_id),
                model_digest=header.model_digest,
            )
        )
        with path.open("rb") as file:
            file.seek(offset)
            while data := file.read(CHUNK_BYTES):
                yield telemetry_pb2.UploadClipRequest(chunk=telemetry_pb2.ClipChunk(offset=offset, data=data))
                offset += len(data)
                self.bytes += len(data)
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)

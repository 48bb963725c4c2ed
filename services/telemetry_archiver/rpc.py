"""ArchiveService: what the archive holds, by vehicle."""

from __future__ import annotations

import asyncio

from fleetloop.protos.archive.v1 import archive_pb2, archive_pb2_grpc
from telemetry_archiver.codec import archive_response
from telemetry_archiver.store import Archive

SERVICE_NAME = "fleet.archive.v1.ArchiveService"


class ArchiveService(archive_pb2_grpc.ArchiveServiceServicer):
    """See protos/fleet/archive/v1/archive.proto for what the call promises."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def GetArchive(
        self, request: archive_pb2.GetArchiveRequest, context: object
    ) -> archive_pb2.GetArchiveResponse:
        footers = await asyncio.to_thread(lambda: list(self._archive.footers()))
        return archive_response(self._archive.address(), footers, request.vehicle_id)

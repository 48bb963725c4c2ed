"""Let python-tuf, which blocks in a thread, fetch over the vehicle's asyncio channel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from vehicle_agent.updater import METADATA_URL, MODELS

_TIMEOUT_S = 60.0
_MAX_BYTES = 512 * 1024 * 1024


class RolloutFetcher(FetcherInterface):  # type: ignore[misc,unused-ignore]
    """Fetches the files of one repository from `ModelService`. Call it in a thread, never in the event loop's
    thread.
    """

    def __init__(self, channel: grpc.aio.Channel, loop: asyncio.AbstractEventLoop, repository: str) -> None:
        self._stub = rollout_pb2_grpc.ModelServiceStub(channel)
        self._loop = loop
        self._repository = rollout_pb2.REPOSITORY_MODELS if repository == MODELS else rollout_pb2.REPOSITORY_DIRECTOR

    def _fetch(self, url: str) -> Iterator[bytes]:
        kind, _, name = url.partition("/")
        call = self._metadata(name) if kind == METADATA_URL else self._target(name)
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return iter(future.result(2 * _TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise DownloadHTTPError(f"{url}: {error.details()}", 404) from error
            raise DownloadError(f"{url}: {error.code().name}: {error.details()}") from error
        except TimeoutError as error:
            future.cancel()
            raise DownloadError(f"{url}: no answer") from error

    async def _metadata(self, name: str) -> list[bytes]:
        request = rollout_pb2.FetchMetadataRequest(name=name, repository=self._repository)
        response = await self._stub.FetchMetadata(request, timeout=_TIMEOUT_S)
        return [response.content]

    async def _target(self, path: str) -> list[bytes]:
        request = rollout_pb2.FetchTargetRequest(path=path, repository=self._repository)
        chunks, size = [], 0
        async for response in self._stub.FetchTarget(request, timeout=_TIMEOUT_S):
            size += len(response.chunk)
            if size > _MAX_BYTES:
                raise DownloadError(f"{path}: more than {_MAX_BYTES} bytes")
            chunks.append(response.chunk)
        return chunks

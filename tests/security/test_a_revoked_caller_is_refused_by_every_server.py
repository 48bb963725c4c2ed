"""One admission list, asked by every server, for every call and again while a call is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.callers import Callers, channel

from fleetloop.domain.access import load_access
from fleetloop.kit.process.settings import ServiceSettings, SettingsError
from fleetloop.kit.rpc import RpcServer, speak_for
from fleetloop.kit.security.admission import admit

CHECK_S = 0.2
FETCH, WATCH = "/fleet.rollout.v1.ModelService/FetchTarget", "/fleet.rollout.v1.ModelService/WatchModels"
LIST = "/fleet.rollout.v1.ModelService/ListModels"
UPLOAD, SLOW = "/fleet.telemetry.v1.TelemetryService/UploadClip", "/fleet.dataset.v1.DatasetService/ImportDataset"
CALLERS = [("vehicle/car", FETCH), ("user/ann", WATCH), ("service/fleet-console", "/grpc.health.v1.Health/Check")]


class Server:
    """A server whose streams never end by themselves, and which records how they ended."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self.begun = asyncio.Event()
        self.ended: list[str] = []
        self.server = RpcServer(
            "rollout-controller", callers.settings("rollout-controller", CHECK_S), load_access(Path("config"))
        )
        handlers = {
            FETCH: grpc.unary_stream_rpc_method_handler(self.stream),
            WATCH: grpc.unary_stream_rpc_method_handler(self.stream),
            LIST: grpc.unary_stream_rpc_method_handler(self.flood),
            UPLOAD: grpc.stream_unary_rpc_method_handler(self.upload),
            SLOW: grpc.unary_unary_rpc_method_handler(self.slow),
        }
        for method, handler in handlers.items():
            _, service, name = method.split("/")
            generic = grpc.method_handlers_generic_handler(service, {name: handler})
            self.server.server.add_generic_rpc_handlers((generic,))

    async def stream(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        yield b"first"
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("stream")

    async def flood(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        try:
            while True:
                self.begun.set()
                yield b"x" * 1_000_000
        finally:
            self.ended.append("flood")

    async def upload(self, requests: AsyncIterator[bytes], context: object) -> bytes:
        try:
            async for _ in requests:
                self.begun.set()
            return b"done"
        finally:
            self.ended.append("upload")

    async def slow(self, request: bytes, context: object) -> bytes:
        self.begun.set()
        await asyncio.sleep(30)
        return b"done"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(Callers(tmp_path))
    await made.server.start([])
    yield made
    await made.server.stop(0)


async def outcome(call: grpc.aio.UnaryStreamCall) -> tuple[grpc.StatusCode, str]:
    """How a stream ends."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize(("who", "method"), CALLERS)
async def test_a_certificate_that_is_not_on_the_list_is_refused(server: Server, who: str, method: str) -> None:
    async with channel("rollout-controller", server.server.port, server.callers.credentials(who)) as opened:
        code, text = await outcome(opened.unary_stream(method)(b"", timeout=10))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert f"spiffe://f/{who} is not enrolled" in text


@pytest.mark.parametrize(("who", "method"), CALLERS)
async def test_a_revoked_caller_is_refused_on_its_open_connection(server: Server, who: str, method: str) -> None:
    own = server.callers.admitted(who, ["subscriber"])
    async with channel("rollout-controller", server.server.port, own) as opened:
        first = await opened.unary_stream(method)(b"", timeout=10).read()
        assert first is not grpc.aio.EOF
        server.callers.revoke(who)
        code, text = await outcome(opened.unary_stream(method)(b"", timeout=10))
    assert (code, "was revoked" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)


async def test_a_replaced_certificate_is_refused(server: Server) -> None:
    own = server.callers.admitted("vehicle/car")
    admit(server.callers.list, own.identity, "1234", now=own.not_after)
    async with channel("rollout-controller", server.server.port, own) as opened:
        code, text = await outcome(opened.unary_stream(FETCH)(b"", timeout=10))
    assert (code, "no longer accepted" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)


@pytest.mark.parametrize(("who", "method"), CALLERS[:2])
async def test_the_open_stream_of_a_revoked_caller_ends_within_the_stated_seconds(
    server: Server, who: str, method: str
) -> None:
    own = server.callers.admitted(who, ["subscriber"])
    async with channel("rollout-controller", server.server.port, own) as opened:
        call = opened.unary_stream(method)(b"", timeout=20)
        assert await call.read() == b"first"
        server.callers.revoke(who)
        began = time.monotonic()
        code, text = await outcome(call)
    assert (code, "was revoked" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)
    assert time.monotonic() - began < 10 * CHECK_S
    assert server.ended == ["stream"], "the handler has cleaned up"


async def test_the_open_stream_of_a_person_who_lost_the_role_ends(server: Server) -> None:
    own = server.callers.admitted("user/ann", ["subscriber"])
    async with channel("rollout-controller", server.server.port, own) as opened:
        call = opened.unary_stream(WATCH)(b"", timeout=20)
        assert await call.read() == b"first"
        server.callers.admitted("user/ann", ["labeller"])
        code, text = await outcome(call)
    assert (code, "needs the role" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)


async def test_the_watch_of_a_revoked_person_ends_that_the_console_opened(server: Server) -> None:
    console = server.callers.admitted("service/fleet-console")
    server.callers.admitted("user/ann", ["subscriber"])
    async with channel("rollout-controller", server.server.port, console) as opened:
        call = opened.unary_stream(WATCH)(b"", timeout=20, metadata=speak_for("ann", ["subscriber"]))
        assert await call.read() == b"first"
        server.callers.revoke("user/ann")
        code, text = await outcome(call)
        assert (code, "user/ann was revoked" in text) == (grpc.StatusCode.PERMISSION_DENIED, True)
        again = opened.unary_stream(WATCH)(b"", timeout=20, metadata=speak_for("ann", ["subscriber"]))
        code, _ = await outcome(again)
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_revoked_caller_that_reads_nothing_holds_no_stream(server: Server) -> None:
    own = server.callers.admitted("user/ann", ["subscriber"])
    async with channel("rollout-controller", server.server.port, own) as opened:
        call = opened.unary_stream(LIST)(b"", timeout=20)
        await server.begun.wait()
        await asyncio.sleep(2 * CHECK_S)  # until the server waits for the client to read
        assert server.ended == []
        server.callers.revoke("user/ann")
        deadline = time.monotonic() + 10 * CHECK_S
        while not server.ended:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            while await call.read() is not grpc.aio.EOF:
                pass


async def test_an_upload_that_waits_for_the_next_chunk_ends_too(server: Server) -> None:
    own = server.callers.admitted("vehicle/car")
    async with channel("rollout-controller", server.server.port, own) as opened:
        call = opened.stream_unary(UPLOAD)(timeout=20)
        await call.write(b"chunk")
        await server.begun.wait()
        server.callers.revoke("vehicle/car")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert server.ended == ["upload"]


async def test_a_long_unary_call_ends_too(server: Server) -> None:
    own = server.callers.admitted("user/ann", ["ml-engineer"])
    async with channel("rollout-controller", server.server.port, own) as opened:
        call = opened.unary_unary(SLOW)(b"", timeout=20)
        waiting = asyncio.ensure_future(call)
        await server.begun.wait()
        server.callers.revoke("user/ann")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await waiting
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_open_stream_of_an_admitted_caller_goes_on(server: Server) -> None:
    own = server.callers.admitted("user/ann", ["subscriber"])
    async with channel("rollout-controller", server.server.port, own) as opened:
        call = opened.unary_stream(WATCH)(b"", timeout=5 * CHECK_S)
        code, _ = await outcome(call)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("content", ["{", None])
async def test_a_list_that_cannot_be_read_is_not_taken_for_a_refusal(server: Server, content: str | None) -> None:
    own = server.callers.admitted("user/ann", ["subscriber"])
    if content is None:
        server.callers.list.unlink()
    else:
        server.callers.list.write_text(content)
    async with channel("rollout-controller", server.server.port, own) as opened:
        code, text = await outcome(opened.unary_stream(WATCH)(b"", timeout=20))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "admission list" in text
    assert "not enrolled" not in text


def test_a_server_with_tls_does_not_start_without_a_list(tmp_path: Path) -> None:
    settings: ServiceSettings = Callers(tmp_path).settings("label-desk").model_copy(update={"admission_list": None})
    with pytest.raises(SettingsError, match="FLEETLOOP_ADMISSION_LIST"):
        RpcServer("label-desk", settings, load_access(Path("config")))

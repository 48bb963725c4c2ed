from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from fleetloop.demo import labellers


class Refusal(grpc.aio.AioRpcError):  # type: ignore[misc,unused-ignore]
    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata())


async def work_through(codes: list[grpc.StatusCode], monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a labeller asks when the desk answers with `codes` in turn and then stops it."""
    stopping, asked = asyncio.Event(), 0

    @asynccontextmanager
    async def channel(*_arguments: object) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as opened:
            yield opened

    async def ask(*_arguments: object) -> None:
        nonlocal asked
        asked += 1
        if asked > len(codes):
            stopping.set()
        else:
            raise Refusal(codes[asked - 1])

    monkeypatch.setattr(labellers, "open_channel", channel)
    monkeypatch.setattr(labellers, "_label_one", ask)
    monkeypatch.setattr(labellers, "_RETRY_AFTER_S", 0.0)
    ledger = labellers.GroundTruth([])
    await labellers.label("desk", Path(), ledger, 0.0, random.Random(1), stopping)
    return asked


async def test_a_slow_or_absent_desk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    passing = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION]
    assert await work_through(passing, monkeypatch) == 4


async def test_a_refusal_for_good_ends_the_labeller(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await work_through([grpc.StatusCode.PERMISSION_DENIED], monkeypatch)

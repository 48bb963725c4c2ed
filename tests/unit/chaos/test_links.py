"""A link carries everything, can be slow, and closes both ends when one closes."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from tests.chaos.links import serve

from fleetloop.embedded.tcp_ports import free_ports


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(100):
        with suppress(ConnectionError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)
    raise AssertionError("the link does not listen")


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
async def test_a_link_carries_bytes_both_ways_with_its_delay(tmp_path: Path, delay_s: float) -> None:
    listen, target = free_ports(2, Random())
    control = tmp_path / "links.json"
    control.write_text(json.dumps({"desk": {"delay_s": delay_s}}))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", target)
    links = asyncio.create_task(serve({"desk": (listen, target)}, control))
    try:
        reader, writer = await _connected(listen)
        await asyncio.sleep(0.3)  # the control file is read
        began_s = time.monotonic()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        took_s = time.monotonic() - began_s
        assert 2 * delay_s <= took_s < 2 * delay_s + 0.5
        writer.close()
        await writer.wait_closed()
    finally:
        links.cancel()
        await asyncio.gather(links, return_exceptions=True)
        server.close()


async def test_a_link_to_nothing_closes_the_connection(tmp_path: Path) -> None:
    listen, target = free_ports(2, Random())
    links = asyncio.create_task(serve({"desk": (listen, target)}, tmp_path / "links.json"))
    try:
        reader, writer = await _connected(listen)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()
    finally:
        links.cancel()
        await asyncio.gather(links, return_exceptions=True)

"""The links between services and the broker: a TCP proxy per service, which can make a link slow.

It runs as a process of its own (`python -m tests.chaos.links ROUTES CONTROL`), so that the senders' work does not
delay the traffic. ROUTES is a JSON file {service: [port to listen on, port to connect to]}. CONTROL is a JSON file
{service: {"delay_s": seconds each piece of data is held, "bytes_per_s": limit in each direction}} which is read again
when it changes; a service that it does not name has a link without limits.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

_PIECE_BYTES = 16_384
_READ_CONTROL_EVERY_S = 0.2


class Links:
    """What slows each link at the moment."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._seen: tuple[int, int] | None = None
        self._limits: dict[str, dict[str, float]] = {}

    async def follow(self) -> None:
        """Read the control file again whenever it changes."""
        while True:
            with suppress(FileNotFoundError):
                status = self._control.stat()
                if (status.st_mtime_ns, status.st_ino) != self._seen:
                    self._limits = json.loads(self._control.read_text())
                    self._seen = (status.st_mtime_ns, status.st_ino)
            await asyncio.sleep(_READ_CONTROL_EVERY_S)

    def hold_s(self, name: str, size: int) -> float:
        """How long a piece of this size is held."""
        limits = self._limits.get(name, {})
        rate = limits.get("bytes_per_s", 0.0)
        return limits.get("delay_s", 0.0) + (size / rate if rate else 0.0)

    async def connect(
        self, name: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection until either side closes it; then close the other one too."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._pump(name, reader, far_writer)),
            asyncio.create_task(self._pump(name, far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _pump(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            held_s = self.hold_s(name, len(piece))
            if held_s:
                await asyncio.sleep(held_s)
            writer.write(piece)
            await writer.drain()


async def serve(routes: Mapping[str, tuple[int, int]], control: Path) -> None:
    """Run all proxies until cancelled."""
    links = Links(control)
    connections: set[asyncio.Task[None]] = set()

    def accept(name: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(links.connect(name, target, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    servers = [
        await asyncio.start_server(partial(accept, name, target), "127.0.0.1", listen)
        for name, (listen, target) in routes.items()
    ]
    try:
        await links.follow()
    finally:
        for server in servers:
            server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))

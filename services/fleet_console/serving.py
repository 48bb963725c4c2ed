"""The pages' web server in the service's event loop: the service handles signals, shutdown and logs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from fleet_console.login.doors import Application

_GRACE_S = 2


class PageServer(uvicorn.Server):
    """uvicorn without its signal handlers: the service's lifecycle decides when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the lifecycle."""
        yield


def listen(address: str) -> socket.socket:
    """A listening socket on host:port. Raises OSError when the port is taken."""
    host, _, port = address.rpartition(":")
    return socket.create_server((host or "127.0.0.1", int(port)))


async def serve(application: Application, listening: socket.socket, stopping: asyncio.Event) -> None:
    """Serve `application` until `stopping`."""
    config = uvicorn.Config(
        application,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
        loop="none",
    )
    server = PageServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stop.cancel()
    await serving


def set_nicegui_folder(folder: Path) -> None:
    """Make NiceGUI store its files below `folder`. It reads the variable when it is imported."""
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(folder / "nicegui"))

"""The front door: the `fleetloop` command, the supervisor and broker of the embedded run, and clients for outsiders.

`from fleetloop import RunningFleet, connect_producer, watch_models` is what a producer or subscriber needs; they are
imported when asked for, so that the command starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetdomain.clips import ClipError, Drive, DriveInfo, DriveWriter, read_drive
    from fleetloop.clients.producer import Acknowledgement, RefusedError, TelemetryProducer, connect_producer
    from fleetloop.clients.subscriber import watch_models
    from fleetloop.running import RunningFleet

__all__ = [
    "Acknowledgement",
    "ClipError",
    "Drive",
    "DriveInfo",
    "DriveWriter",
    "RefusedError",
    "RunningFleet",
    "TelemetryProducer",
    "connect_producer",
    "read_drive",
    "watch_models",
]
_HOMES = {
    **dict.fromkeys(("ClipError", "Drive", "DriveInfo", "DriveWriter", "read_drive"), "fleetdomain.clips"),
    "Acknowledgement": "fleetloop.clients.producer",
    "RefusedError": "fleetloop.clients.producer",
    "RunningFleet": "fleetloop.running",
    "TelemetryProducer": "fleetloop.clients.producer",
    "connect_producer": "fleetloop.clients.producer",
    "watch_models": "fleetloop.clients.subscriber",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""fleetloop, a fleet data engine: the client API, the `fleetloop` command, and the libraries that services are built
from.

A producer or subscriber needs `from fleetloop import RunningFleet, connect_producer, watch_models`. Names are
imported on first use, so that the command starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetloop.api.enrolment import Enrolment
    from fleetloop.api.installation import RunningFleet
    from fleetloop.api.producer import Acknowledgement, RefusedError, TelemetryProducer, connect_producer
    from fleetloop.api.subscriber import watch_models
    from fleetloop.domain.clips import ClipError, Drive, DriveInfo, DriveWriter, read_drive

__all__ = [
    "Acknowledgement",
    "ClipError",
    "Drive",
    "DriveInfo",
    "DriveWriter",
    "Enrolment",
    "RefusedError",
    "RunningFleet",
    "TelemetryProducer",
    "connect_producer",
    "read_drive",
    "watch_models",
]
_MODULES = {
    **dict.fromkeys(("ClipError", "Drive", "DriveInfo", "DriveWriter", "read_drive"), "fleetloop.domain.clips"),
    "Acknowledgement": "fleetloop.api.producer",
    "Enrolment": "fleetloop.api.enrolment",
    "RefusedError": "fleetloop.api.producer",
    "RunningFleet": "fleetloop.api.installation",
    "TelemetryProducer": "fleetloop.api.producer",
    "connect_producer": "fleetloop.api.producer",
    "watch_models": "fleetloop.api.subscriber",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

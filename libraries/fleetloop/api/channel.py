"""Calls of the command line to a running fleet's services: the channel, the certificate, and errors in a sentence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc

from fleetloop.api.installation import RunningFleet
from fleetloop.errors import UserError

TIMEOUT_S = 60.0


@contextmanager
def channel_to(folder: Path | str, service: str, role: str = "engineer") -> Iterator[grpc.Channel]:
    """A channel to a service of the run in `folder`, with a person's certificate.

    A refusal or an absence becomes a UserError with the server's own words.
    """
    fleet = RunningFleet.open(folder)
    credentials = fleet.credentials(role, datetime.now(UTC))
    secure = grpc.ssl_channel_credentials(
        credentials.ca.read_bytes(), credentials.key.read_bytes(), credentials.cert.read_bytes()
    )
    with grpc.secure_channel(fleet.address(service), secure) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code is grpc.StatusCode.UNAVAILABLE:
                raise UserError(f"{service} does not answer.", "See `fleetloop status` and its log.") from error
            raise UserError(f"{service} refuses: {details}", f"({code.name.lower()})") from error


def request_id() -> str:
    """A random id: one a command, the same for every attempt of it."""
    return uuid.uuid4().hex

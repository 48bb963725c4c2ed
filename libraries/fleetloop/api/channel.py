"""Call the services of a running fleet: the channel, the certificate, and errors as one sentence with a remedy."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from fleetloop.api.installation import RunningFleet
from fleetloop.errors import UserError
from fleetloop.kit.rpc import expect_server

TIMEOUT_S = 60.0


@contextmanager
def channel_to(folder: Path | str, service: str) -> Iterator[grpc.Channel]:
    """Open a channel to a service of the run in `folder`, with the certificate of its user.

    A failed call within the block becomes a UserError with the server's explanation.
    """
    fleet = RunningFleet.open(folder)
    credentials = fleet.credentials()
    secure = grpc.ssl_channel_credentials(
        credentials.ca.read_bytes(), credentials.key.read_bytes(), credentials.cert.read_bytes()
    )
    options = [expect_server(service, credentials.cert.read_bytes())]
    with grpc.secure_channel(fleet.address(service), secure, options) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code is grpc.StatusCode.UNAVAILABLE and "admission list" in (details or ""):
                raise UserError(f"{service} cannot decide: {details}", "See its log.") from error
            if code is grpc.StatusCode.UNAVAILABLE:
                raise UserError(f"{service} does not answer.", "See `fleetloop status` and its log.") from error
            raise UserError(f"{service} refused the request: {details}", f"({code.name.lower()})") from error


def request_id() -> str:
    """Return a random id. Use the same id for every attempt of one command, so that it takes effect once."""
    return uuid.uuid4().hex

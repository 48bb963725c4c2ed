"""Probe whether Kafka answers, in its own protocol over a plain socket.

An open port is not enough: the node accepts connections before it serves requests.
"""

from __future__ import annotations

import socket
import struct

from fleetloop.supervisor.spec import Probe

_CORRELATION = 0x666C6F6F
# ApiVersions v0 (key 18): api key, api version, correlation id, client id (length, bytes)
_REQUEST = struct.pack(">hhih5s", 18, 0, _CORRELATION, 5, b"probe")


def kafka_answers(bootstrap_servers: str) -> Probe:
    """Return a probe that is True if one of the comma-separated host:port answers an ApiVersions request."""
    addresses = [each.strip().rpartition(":") for each in bootstrap_servers.split(",")]

    def probe(timeout_s: float) -> bool:
        return any(_ask(host, port, timeout_s) for host, _, port in addresses)

    return probe


def _ask(host: str, port: str, timeout_s: float) -> bool:
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            answer = b""
            while len(answer) < 10:  # size, correlation id, error code
                part = connection.recv(4096)
                if not part:
                    return False
                answer += part
    except (OSError, ValueError):
        return False
    _, correlation, error = struct.unpack(">iih", answer[:10])
    return bool(correlation == _CORRELATION and error == 0)

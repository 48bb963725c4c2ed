"""Probes of a running process. Each answers within its time limit, and none raises."""

from __future__ import annotations

import http.client
import socket

from fleetloop.supervisor.spec import Probe


def http_ok(address: str, path: str) -> Probe:
    """Return a probe that is True if GET http://`address``path` answers 200; `address` is host:port."""

    def probe(timeout_s: float) -> bool:
        connection = http.client.HTTPConnection(address, timeout=timeout_s)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def port_open(address: str) -> Probe:
    """Return a probe that is True if a process accepts connections at `address` (host:port)."""
    host, _, port = address.rpartition(":")

    def probe(timeout_s: float) -> bool:
        try:
            with socket.create_connection((host, int(port)), timeout=timeout_s):
                return True
        except OSError:
            return False

    return probe

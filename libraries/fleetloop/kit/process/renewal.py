"""A certificate that was renewed on disk reaches the process by a restart: gRPC reads it once, when a server starts.

cert-manager and the like write a new certificate long before the old one ends. So a process that finds one there
fails its liveness, and whoever supervises it starts it anew with the new one. Replicas would otherwise all do so at
once: each waits for its own share of `within_s`, by its name.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from fleetloop.kit.process.clock import Clock, ns_to_seconds

_SHARES = 2**32


class RenewalWatch:
    """Compares the certificate's file with what it held when the process started."""

    def __init__(self, certificate: Path, name: str, within_s: float, clock: Clock) -> None:
        """`name` tells replicas apart."""
        self._certificate = certificate
        self._in_use = self._read()
        self._delay_s = within_s * crc32(name.encode()) / _SHARES
        self._clock = clock
        self._seen_ns: int | None = None

    def problem(self) -> str | None:
        """That a restart is due, or None. A file that is away for a moment is no renewal."""
        if self._read() in (self._in_use, None):
            self._seen_ns = None
            return None
        now_ns = self._clock.monotonic_ns()
        if self._seen_ns is None:
            self._seen_ns = now_ns
        if ns_to_seconds(now_ns - self._seen_ns) < self._delay_s:
            return None
        return f"{self._certificate} was renewed: a restart takes it into use"

    def _read(self) -> bytes | None:
        try:
            return self._certificate.read_bytes()
        except OSError:
            return None

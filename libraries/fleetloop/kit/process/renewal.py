"""Restarts the process after its certificate or its trust changed on disk: gRPC reads both when a server starts.

cert-manager and similar tools write a new certificate long before the old one expires. A process that finds one fails
its liveness check, so that Kubernetes or the supervisor restarts it. Replicas do not restart at once: each waits for
a part of `within_s` that depends on its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from fleetloop.kit.process.clock import Clock, ns_to_seconds

_SHARES = 2**32


class RenewalWatch:
    """Compares the files of the certificate and of the CAs with their content when the process started."""

    def __init__(self, files: Sequence[Path], name: str, within_s: float, clock: Clock) -> None:
        """`name` differs between the replicas of a service."""
        self._files = files
        self._in_use = self._read()
        self._delay_s = within_s * crc32(name.encode()) / _SHARES
        self._clock = clock
        self._seen_ns: int | None = None

    def problem(self) -> str | None:
        """Liveness check: that a restart is due, or None. A file that is missing for a moment is no renewal."""
        if self._read() in (self._in_use, None):
            self._seen_ns = None
            return None
        now_ns = self._clock.monotonic_ns()
        if self._seen_ns is None:
            self._seen_ns = now_ns
        if ns_to_seconds(now_ns - self._seen_ns) < self._delay_s:
            return None
        return f"{' or '.join(map(str, self._files))} was renewed: restart to use it"

    def _read(self) -> list[bytes] | None:
        try:
            return [path.read_bytes() for path in self._files]
        except OSError:
            return None

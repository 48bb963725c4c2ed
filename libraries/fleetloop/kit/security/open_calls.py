"""How many calls one caller may have open at a server, so that none takes the places of all others.

A server accepts a bounded number of calls at a time. Streams stay open for days, and some methods are open to every
admitted caller (health, reflection), so the limit is on the caller and not on a method.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fleetloop.kit.refusal import ResourceExhaustedError
from fleetloop.kit.security.identity import Identity, IdentityKind

MOST_OPEN: Mapping[str, int] = {IdentityKind.VEHICLE: 128, IdentityKind.USER: 256, IdentityKind.SERVICE: 4096}
"""Open calls of one caller, by its kind. A service such as the console calls for many people."""


class OpenCalls:
    """Counts the open calls of each caller."""

    def __init__(self, most: Mapping[str, int] = MOST_OPEN) -> None:
        self._most = most
        self._open: Counter[Identity] = Counter()

    @contextmanager
    def open(self, caller: Identity) -> Iterator[None]:
        """Counts one call while the block runs. Raises ResourceExhaustedError when the caller has too many open."""
        most = self._most[caller.kind]
        if self._open[caller] >= most:
            raise ResourceExhaustedError(f"{caller} has {most} calls open here", remedy="end some of them first")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def __len__(self) -> int:
        return self._open.total()

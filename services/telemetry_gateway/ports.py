"""What the gateway needs of the outside."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from fleetloop.kit.messaging.events import Event


class Admissions(Protocol):
    """Knows who is admitted."""

    def refusal(self, spiffe_id: str, serial: str | None = None) -> str | None:
        """None if admitted, else the reason. Cheap enough to be asked per message."""
        ...


class Line(Protocol):
    """Sends events in order."""

    async def enqueue(self, event: Event) -> Awaitable[Any]:
        """Puts an event behind those before it; what is returned ends when Kafka has it, or raises."""
        ...

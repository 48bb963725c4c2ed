"""Interfaces that the gateway needs from other code."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from fleetloop.kit.messaging.events import Event


class Admissions(Protocol):
    """Says which vehicles are admitted."""

    def refusal(self, spiffe_id: str, serial: str | None = None) -> str | None:
        """None if the vehicle is admitted, otherwise the reason. Cheap enough to be called for every message."""
        ...


class OrderedPublisher(Protocol):
    """Sends events and keeps their order."""

    async def enqueue(self, event: Event) -> Awaitable[Any]:
        """Queues an event behind earlier ones. Await the result for Kafka's acknowledgement."""
        ...

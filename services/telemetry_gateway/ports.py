"""Interfaces that the gateway needs from other code."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.security.identity import Identity


class Admissions(Protocol):
    """Says which vehicles are admitted."""

    def admitted(self, who: Identity, serial: str | None = None) -> object:
        """Returns if the vehicle is admitted. Cheap enough to be called for every message.

        Raises PermissionDeniedError if it is not, UnavailableError when the list cannot be read.
        """
        ...


class OrderedPublisher(Protocol):
    """Sends events and keeps their order."""

    async def enqueue(self, event: Event) -> Awaitable[Any]:
        """Queues an event behind earlier ones. Await the result for Kafka's acknowledgement."""
        ...

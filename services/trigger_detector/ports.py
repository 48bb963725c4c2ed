"""What the stream needs from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record


class Outlet(Protocol):
    """Where events and dead-letter messages are sent. Both methods return once Kafka has acknowledged them."""

    async def publish(self, events: Iterable[Event]) -> None: ...

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None: ...

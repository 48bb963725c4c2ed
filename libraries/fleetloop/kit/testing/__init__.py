"""Test doubles for every service: a clock that is set by hand and a publisher that records events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.process.clock import seconds_to_ns


@dataclass
class ManualClock:
    """A clock that moves only when a test advances it."""

    utc_ns: int = 1_700_000_000_000_000_000
    mono_ns: int = 0

    def now_utc_ns(self) -> int:
        return self.utc_ns

    def monotonic_ns(self) -> int:
        return self.mono_ns

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward."""
        self.utc_ns += seconds_to_ns(seconds)
        self.mono_ns += seconds_to_ns(seconds)


@dataclass
class RecordingPublisher:
    """A Publisher that records events and raises `broken` if that is set."""

    events: list[Event] = field(default_factory=list)
    broken: Exception | None = None

    async def publish(self, events: Iterable[Event]) -> None:
        if self.broken is not None:
            raise self.broken
        self.events.extend(events)

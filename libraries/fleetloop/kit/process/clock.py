"""Time is an argument: cores receive nanoseconds, shells receive a Clock, and only `__main__` creates a SystemClock.

Times are whole nanoseconds in UTC or on a monotonic clock. Names say the unit: `_s`, `_ms` or `_ns`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NANOSECONDS_PER_SECOND = 1_000_000_000
NANOSECONDS_PER_MILLISECOND = 1_000_000
MILLISECONDS_PER_SECOND = 1_000


class Clock(Protocol):
    """The source of time of a shell."""

    def now_utc_ns(self) -> int:
        """Wall clock, nanoseconds since 1970 in UTC."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never goes back, for durations, in nanoseconds."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def now_utc_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


def seconds_to_ns(seconds: float) -> int:
    """Whole nanoseconds nearest to `seconds`."""
    return round(seconds * NANOSECONDS_PER_SECOND)


def ns_to_seconds(nanoseconds: float) -> float:
    """Seconds as a float: exact to a microsecond for durations of a century."""
    return nanoseconds / NANOSECONDS_PER_SECOND


def seconds_to_ms(seconds: float) -> int:
    """Whole milliseconds nearest to `seconds`."""
    return round(seconds * MILLISECONDS_PER_SECOND)


def ms_to_ns(milliseconds: int) -> int:
    """Nanoseconds of whole milliseconds, the unit of Kafka's timestamps."""
    return milliseconds * NANOSECONDS_PER_MILLISECOND


def ns_to_ms(nanoseconds: int) -> int:
    """Whole milliseconds, rounded down."""
    return nanoseconds // NANOSECONDS_PER_MILLISECOND


def utc_second(utc_ns: int) -> datetime:
    """The second that an instant lies in, as a time in UTC."""
    return datetime.fromtimestamp(utc_ns // NANOSECONDS_PER_SECOND, UTC)

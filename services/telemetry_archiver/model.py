"""The values that the archiver decides on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleetloop.domain.frames import FrameBatch

Range = tuple[int, int]
"""First and last sequence, both included."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message of the log."""

    offset: int
    appended_ms: int
    size_bytes: int
    batch: FrameBatch | None
    """None when the message could not be decoded; it goes to the dead-letter queue."""


@dataclass(slots=True)
class _Boot:
    lows: list[int] = field(default_factory=list)
    highs: list[int] = field(default_factory=list)
    latest_ms: int = 0


class SeenBatches:
    """The archived (vehicle, boot, sequence), as ranges: a boot counts from 0, so it needs few of them."""

    def __init__(self) -> None:
        self._boots: dict[tuple[str, str], _Boot] = {}

    def add(self, vehicle: str, boot: str, low: int, high: int, appended_ms: int) -> bool:
        """Adds a range of sequences. Returns False when its first one was known already."""
        seen = self._boots.setdefault((vehicle, boot), _Boot())
        seen.latest_ms = max(seen.latest_ms, appended_ms)
        at = bisect_right(seen.lows, low)
        known = at > 0 and seen.highs[at - 1] >= low
        first = at - 1 if at > 0 and seen.highs[at - 1] >= low - 1 else at
        last = first
        while last < len(seen.lows) and seen.lows[last] <= high + 1:
            low, high = min(low, seen.lows[last]), max(high, seen.highs[last])
            last += 1
        seen.lows[first:last] = [low]
        seen.highs[first:last] = [high]
        return not known

    def prune_before(self, appended_ms: int) -> None:
        """Removes boots whose latest batch is older than `appended_ms`."""
        for key in [key for key, boot in self._boots.items() if boot.latest_ms < appended_ms]:
            del self._boots[key]

    def ranges(self) -> Mapping[str, Mapping[str, Sequence[Range]]]:
        """The ranges by vehicle and boot."""
        found: dict[str, dict[str, Sequence[Range]]] = {}
        for (vehicle, boot), seen in self._boots.items():
            found.setdefault(vehicle, {})[boot] = list(zip(seen.lows, seen.highs, strict=True))
        return found

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._boots)

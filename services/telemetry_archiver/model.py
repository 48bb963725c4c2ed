"""What the archiver decides on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleetloop.domain.frames import FrameBatch

Range = tuple[int, int]
"""First and last sequence, ends included."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message of the log."""

    offset: int
    appended_ms: int
    size_bytes: int
    batch: FrameBatch | None
    """None: it could not be read, and goes to the dead letters."""


@dataclass(slots=True)
class _Boot:
    lows: list[int] = field(default_factory=list)
    highs: list[int] = field(default_factory=list)
    latest_ms: int = 0


class SeenBatches:
    """Which (vehicle, boot, sequence) are archived, as ranges: a boot counts from 0, so its ranges stay few."""

    def __init__(self) -> None:
        self._boots: dict[tuple[str, str], _Boot] = {}

    def add(self, vehicle: str, boot: str, low: int, high: int, appended_ms: int) -> bool:
        """Notes a range of sequences; False when its first one was known."""
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

    def forget_before(self, appended_ms: int) -> None:
        """Forgets boots of which nothing has come since."""
        for key in [key for key, boot in self._boots.items() if boot.latest_ms < appended_ms]:
            del self._boots[key]

    def ranges(self) -> Mapping[str, Mapping[str, Sequence[Range]]]:
        """vehicle -> boot -> ranges."""
        found: dict[str, dict[str, Sequence[Range]]] = {}
        for (vehicle, boot), seen in self._boots.items():
            found.setdefault(vehicle, {})[boot] = list(zip(seen.lows, seen.highs, strict=True))
        return found

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._boots)

"""Limits on guessing passwords: attempts per name, attempts in all, and memory for the hashes."""

from __future__ import annotations

from collections import OrderedDict

from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns

FREE = 5
"""Wrong passwords of one name before the name has to wait."""
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 300.0
IN_ALL, WINDOW_S = 60, 60.0
"""Wrong passwords of all names together within the window."""
MOST_NAMES = 10_000


class Guesses:
    """Counts wrong passwords. The clock is an argument."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._recent: list[int] = []

    def wait_s(self, name: str, now_ns: int) -> float:
        """Seconds until this name may try again; 0 for now."""
        self._recent = [at for at in self._recent if now_ns - at < seconds_to_ns(WINDOW_S)]
        if len(self._recent) >= IN_ALL:
            return ns_to_seconds(self._recent[0] + seconds_to_ns(WINDOW_S) - now_ns)
        count, last_ns = self._names.get(name, (0, 0))
        if count < FREE:
            return 0.0
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(count - FREE, 20))
        return max(0.0, ns_to_seconds(last_ns + seconds_to_ns(wait_s) - now_ns))

    def wrong(self, name: str, now_ns: int) -> None:
        """A wrong password was given."""
        count, _ = self._names.pop(name, (0, 0))
        self._names[name] = (count + 1, now_ns)
        self._recent.append(now_ns)
        while len(self._names) > MOST_NAMES:
            self._names.popitem(last=False)

    def right(self, name: str) -> None:
        """The right password was given: the name starts again at zero."""
        self._names.pop(name, None)

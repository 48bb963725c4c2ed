"""Numbers and times as text for people."""

from __future__ import annotations

from fleetloop.kit.process.clock import ns_to_seconds


def number(value: float) -> str:
    """1,234 or 12.3 M: no digits without meaning."""
    if abs(value) >= 1e7:
        return f"{value / 1e6:,.1f} M"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Two units at most: 8 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for big, small, size, unit in (("min", "s", 60, 1), ("h", "min", 3600, 60)):
        if whole < size * (60 if size == 60 else 24):
            rest = whole % size // unit
            return f"{whole // size} {big} {rest} {small}" if rest else f"{whole // size} {big}"
    rest = whole % 86400 // 3600
    return f"{whole // 86400} d {rest} h" if rest else f"{whole // 86400} d"


def age(at_utc_ns: int, now_utc_ns: int) -> str:
    """How long ago, or an empty text for time 0, which means never."""
    return f"{duration(ns_to_seconds(now_utc_ns - at_utc_ns))} ago" if at_utc_ns else ""


def size(count: float) -> str:
    """Bytes as KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def words(name: str, prefix: str = "") -> str:
    """RUN_STATE_EVALUATED as evaluated, near_duplicate as near duplicate."""
    return name.removeprefix(prefix).replace("_", " ").lower()


def listed(counts: dict[str, int]) -> str:
    """Counts as text, such as 3 near duplicate, 2 in test set: the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number(count)} {words(name)}" for name, count in ordered if count)

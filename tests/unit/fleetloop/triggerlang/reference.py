"""The language and the detector as slowly and obviously as possible: one vehicle, one instant, one batch at a
time.

The compiled form is held against this. Nothing is shared with it but the typed nodes of an expression, the
trigger's fields and the shape of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.triggerlang.nodes import BOOL, Node

FALSE, UNKNOWN, TRUE = 0, 1, 2
Entry = dict[str, float]
V = TypeVar("V")


@dataclass
class Telemetry:
    """Points in the order in which they became known."""

    signals: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    lists: dict[str, list[tuple[int, list[Entry]]]] = field(default_factory=dict)

    def add(self, batch: FrameBatch) -> None:
        groups = {path.rpartition(".")[0] for path, c in batch.columns.items() if c.splits is not None}
        for path, column in batch.columns.items():
            if column.splits is None:
                scale = 2 if column.values.dtype == bool else 1
                pairs = zip(times_of(batch, column), column.values.tolist(), strict=True)
                self.signals.setdefault(path, []).extend((t, float(scale * v)) for t, v in pairs)
        for group in groups:
            fields = {p.rpartition(".")[2]: c for p, c in batch.columns.items() if p.startswith(group + ".")}
            for row, t in enumerate(times_of(batch, fields["Id"])):
                entries: dict[float, Entry] = {}
                splits = fields["Id"].splits
                assert splits is not None
                for k in range(int(splits[row]), int(splits[row + 1])):
                    entry = {name: float(column.values[k]) for name, column in fields.items()}
                    entries[entry["Id"]] = entry
                self.lists.setdefault(group, []).append((t, list(entries.values())))

    def instants(self, node: Node) -> list[int]:
        found: set[int] = set()
        for source in node.sources:
            found |= {t for t, _ in self.signals.get(source, [])} | {t for t, _ in self.lists.get(source, [])}
        return sorted(found)


def times_of(batch: FrameBatch, column: Column) -> list[int]:
    offsets = batch.frame_offsets_ns if column.offsets_ns is None else column.offsets_ns
    return [batch.start_monotonic_ns + int(o) for o in offsets]


def value(node: Node, t: int, world: Telemetry, track: float = -1) -> float:
    """A number (NaN: unknown) or a code of a condition."""
    unknown = UNKNOWN if node.kind == BOOL else math.nan
    if node.op == "const":
        return node.number
    if node.op == "signal":
        points = [(at, v) for at, v in world.signals.get(node.path, []) if at <= t]
        points = last_of_each(points)
        if node.skip_nan:
            points = [(at, v) for at, v in points if not math.isnan(v)]
        if not points or t - points[-1][0] > node.span_ns:
            return unknown
        return points[-1][1]
    if node.op == "field":
        found = [(at, e) for at, e in entries_of(node.path, world, track) if at <= t]
        if not found or t - found[-1][0] > node.span_ns:
            return unknown
        return found[-1][1][node.name]
    if node.op in ("any_track", "count_tracks"):
        lists = last_of_each([(at, e) for at, e in world.lists.get(node.path, []) if at <= t])
        if not lists or t - lists[-1][0] > node.span_ns:
            return unknown
        at, entries = lists[-1]
        codes = [value(node.args[0], at, world, e["Id"]) for e in entries]
        if node.op == "count_tracks":
            return float(codes.count(TRUE))
        return TRUE if TRUE in codes else UNKNOWN if UNKNOWN in codes else FALSE
    if node.op == "lag":
        return value(node.args[0], t - node.span_ns, world, track)
    if node.span_ns:
        return rolling(node, t, world, track)
    return pointwise(node, [value(a, t, world, track) for a in node.args])


def last_of_each(points: list[tuple[int, V]]) -> list[tuple[int, V]]:
    latest = dict(points)
    return [(t, latest[t]) for t in sorted(latest)]


def entries_of(group: str, world: Telemetry, track: float) -> list[tuple[int, Entry]]:
    lists: list[tuple[int, list[Entry]]] = last_of_each(world.lists.get(group, []))
    return [(at, e) for at, entries in lists for e in entries if e["Id"] == track]


def rolling(node: Node, t: int, world: Telemetry, track: float) -> float:
    inner = node.args[0]
    instants = world.instants(inner)
    if node.tracked:
        group = tracked_group(inner)
        instants = [at for at, _ in entries_of(group, world, track)]
    within = [at for at in instants if t - node.span_ns < at <= t]
    values = [(at, value(inner, at, world, track)) for at in within]
    if node.op in ("any", "all", "count"):
        codes = [v for _, v in values]
        if not codes:
            return math.nan if node.op == "count" else UNKNOWN
        if node.op == "count":
            return float(codes.count(TRUE))
        if node.op == "any":
            return TRUE if TRUE in codes else UNKNOWN if UNKNOWN in codes else FALSE
        return FALSE if FALSE in codes else UNKNOWN if UNKNOWN in codes else TRUE
    known = [(at, v) for at, v in values if not math.isnan(v)]
    numbers = [v for _, v in known]
    if not known:
        return math.nan
    if node.op == "slope":
        if len(known) < 3 or 2 * (known[-1][0] - known[0][0]) < node.span_ns:
            return math.nan
        mean_t = sum((at - t) / 1e9 for at, _ in known) / len(known)
        mean_v = sum(numbers) / len(known)
        upper = sum(((at - t) / 1e9 - mean_t) * (v - mean_v) for at, v in known)
        return upper / sum(((at - t) / 1e9 - mean_t) ** 2 for at, _ in known)
    if node.op == "mean":
        return sum(numbers) / len(numbers)
    return {"min": min(numbers), "max": max(numbers), "first": numbers[0]}[node.op]


def tracked_group(node: Node) -> str:
    return node.path if node.op == "field" else tracked_group(next(a for a in node.args if a.tracked))


def pointwise(node: Node, v: list[float]) -> float:
    if node.op == "not":
        return 2 - v[0]
    if node.op == "and":
        return min(v)
    if node.op == "or":
        return max(v)
    if node.op == "exists":
        unknown = v[0] == UNKNOWN if node.args[0].kind == BOOL else math.isnan(v[0])
        return FALSE if unknown else TRUE
    if any(math.isnan(x) for x in v):
        return UNKNOWN if node.kind == BOOL else math.nan
    if node.op in ("lt", "le", "eq"):
        return TRUE if {"lt": v[0] < v[1], "le": v[0] <= v[1], "eq": v[0] == v[1]}[node.op] else FALSE
    if node.op == "div":
        return math.nan if v[1] == 0 else v[0] / v[1]
    if node.op in ("neg", "abs"):
        return -v[0] if node.op == "neg" else abs(v[0])
    a, b = v
    return {"add": a + b, "sub": a - b, "mul": a * b, "lower_of": min(a, b), "higher_of": max(a, b)}[node.op]


@dataclass
class Logged:
    """A batch in one vehicle's log, with its outcome."""

    batch: FrameBatch
    append_ms: int
    end_ns: int
    in_order: bool


def end_of(batch: FrameBatch) -> int:
    return max([times_of(batch, c)[-1] for c in batch.columns.values() if c.rows()] + [frames_of(batch)[-1]])


def frames_of(batch: FrameBatch) -> list[int]:
    return [batch.start_monotonic_ns + int(o) for o in batch.frame_offsets_ns]


class ReferenceDetector:
    """One vehicle and boot, one trigger. ``feed`` returns the onsets (monotonic ns) whose slot is not taken."""

    def __init__(self, node: Node, mode: str, interval_ns: int, memory_s: int, lateness_s: float) -> None:
        self.node, self.mode, self.interval_ns = node, mode, interval_ns
        self.memory_s, self.lateness_s = memory_s, lateness_s
        self.log: list[Logged] = []
        self.last_false: tuple[int, int] | None = None
        self.slots: dict[int, int] = {}

    def feed(self, batch: FrameBatch, append_ms: int) -> list[int]:
        recent = [x for x in self.log if x.append_ms >= append_ms - 1000 * self.memory_s]
        logged = Logged(batch, append_ms, end_of(batch), False)
        self.log.append(logged)
        if any(x.batch.sequence == batch.sequence for x in recent):
            return []
        newest = max((x.end_ns for x in recent), default=None)
        late = newest is not None and batch.start_monotonic_ns <= newest
        if late and newest is not None and newest - batch.start_monotonic_ns > self.lateness_s * 1e9:
            return []
        logged.in_order = not late
        world = Telemetry()
        for earlier in [] if late else recent:
            if earlier.in_order:
                world.add(earlier.batch)
        world.add(batch)
        own = Telemetry()
        own.add(batch)
        last_false = None if late else self.last_false
        onsets = []
        for t in own.instants(self.node):
            code = value(self.node, t, world)
            if code == TRUE and (self.mode == "always" or self.was_false(last_false, t, append_ms)):
                slot = t // self.interval_ns
                if self.slots.get(slot, -(10**18)) < append_ms - 1000 * self.memory_s:
                    onsets.append(t)
                self.slots[slot] = append_ms
            if code != UNKNOWN:
                last_false = (t, append_ms) if code == FALSE else None
        if not late:
            self.last_false = last_false
        return onsets

    def was_false(self, last_false: tuple[int, int] | None, t: int, append_ms: int) -> bool:
        if last_false is None:
            return False
        seconds = t // 10**9 - last_false[0] // 10**9, append_ms // 1000 - last_false[1] // 1000
        return max(seconds) <= self.memory_s


def feed_all(detector: ReferenceDetector, batches: Sequence[tuple[FrameBatch, int]]) -> list[int]:
    return [t for batch, append_ms in batches for t in detector.feed(batch, append_ms)]

"""Runs a program over a block: every node once per set of instants, for all vehicles at a time.

Numbers are float64 with NaN for unknown. Conditions are int8 codes, 0 false, 1 unknown, 2 true, so that
``and`` is a minimum, ``or`` a maximum and ``not`` a subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from triggerlang import windows
from triggerlang.block import Block, Instants, Ints, Points
from triggerlang.nodes import BOOL, Node

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """Instants that values are wanted at."""

    keys: Ints
    """Global keys; within a track's condition, keys that rise within each track."""
    base: Instants | None = None
    """The instants that these were taken from, and the places taken (None: all)."""
    picks: Ints | None = None
    outer: Query | None = None
    """Within a track's condition: the same instants by their global keys."""


@dataclass(frozen=True, slots=True, eq=False)
class _Tracks:
    """A group's list entries sorted by vehicle, track and time."""

    instants: Instants
    query: Query
    fields: dict[str, Values]
    owner: Ints
    """The place of each entry's instant within the group's instants."""
    times: Ints


class Evaluation:
    """One pass of a program over a block. Not to be used twice."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._kinds = block.program.kinds
        self._known: dict[tuple[int, int], Values] = {}
        self._positions: dict[tuple[int, int], tuple[Ints | None, Ints]] = {}
        self._unions: dict[frozenset[str], Instants] = {}
        self._queries: dict[tuple[Any, ...], Query] = {}
        self._times: dict[int, Ints] = {}
        self._tracks: dict[str, _Tracks] = {}
        self._reduced: dict[int, Values] = {}
        self._columns: dict[tuple[str, str], Values] = {}
        self._keep: list[Any] = []

    def new_instants(self, node: Node) -> Query:
        """The instants of a condition that are not from the history: where it is decided whether it fires."""
        instants = self._union(node.sources)
        key = ("new", id(instants))
        if key not in self._queries:
            self._queries[key] = Query(instants.keys[instants.new], instants, instants.new)
        return self._queries[key]

    def at(self, node: Node, query: Query) -> Values:
        """The node's values at the query's instants: (len(query.keys),) float64, or int8 codes."""
        if not node.tracked and query.outer is not None:
            query = query.outer
        memo = (id(node), id(query))
        known = self._known.get(memo)
        if known is None:
            self._keep.append(query)
            known = self._known[memo] = self._compute(node, query)
        return known

    def _compute(self, node: Node, query: Query) -> Values:
        op = node.op
        if op == "const":
            dtype = np.int8 if node.kind == BOOL else np.float64
            return np.broadcast_to(np.array(node.number, dtype), len(query.keys))
        if op == "signal":
            return self._signal(node, query)
        if op == "field":
            tracks = self._track_domain(node.path)
            return self._hold(tracks.instants, tracks.fields[node.name], node, query)
        if op in ("any_track", "count_tracks"):
            instants = self.block.points(node.path).instants
            return self._hold(instants, self._reduce(node), node, query)
        if op == "lag":
            return self.at(node.args[0], self._shifted(query, node.span_ns))
        if node.span_ns:
            return self._rolling(node, query)
        return _pointwise(op, [self.at(a, query) for a in node.args])

    def _signal(self, node: Node, query: Query) -> Values:
        points = self.block.points(node.path)
        values = self._column(node.path, "", points)
        if not node.skip_nan or values.dtype == np.int8:
            return self._hold(points.instants, values, node, query)
        known = np.isnan(values)
        if not known.any():
            return self._hold(points.instants, values, node, query)
        known = ~known
        key = ("known", id(points))
        if key not in self._queries:
            thinned = Instants(points.instants.keys[known], np.zeros(0, np.int64))
            self._queries[key] = Query(thinned.keys, thinned)
        instants = self._queries[key].base
        assert instants is not None
        return self._hold(instants, values[known], node, query)

    def _column(self, source: str, name: str, points: Points) -> Values:
        known = self._columns.get((source, name))
        if known is None:
            raw = points.values[name]
            kind = self._kinds[f"{source}.{name}" if name else source]
            if kind != "bool":
                known = raw.astype(np.float64)
            elif raw.dtype == np.bool_:
                known = raw.astype(np.int8) * np.int8(2)
            else:
                known = np.where(np.isnan(raw), 1, 2 * (raw != 0)).astype(np.int8)
            self._columns[source, name] = known
        return known

    def _hold(self, instants: Instants, values: Values, node: Node, query: Query) -> Values:
        """The last value at or before each instant, unknown once it is older than the node's span."""
        if query.base is instants:
            return values if query.picks is None else values[query.picks]
        place, age = self._position(instants, query)
        stale = age > node.span_ns
        if len(values) == 0:
            stale, held = np.ones(len(query.keys), bool), np.zeros(len(query.keys), values.dtype)
        else:
            held = values[place]
        if stale.any():
            held[stale] = 1 if values.dtype == np.int8 else np.nan
        return held

    def _position(self, instants: Instants, query: Query) -> tuple[Any, Ints]:
        memo = (id(instants), id(query))
        known = self._positions.get(memo)
        if known is None:
            self._keep.append((instants, query))
            place = np.searchsorted(instants.keys, query.keys, side="right") - 1
            if len(instants.keys) == 0:
                age = np.zeros(len(query.keys), np.int64)
            else:
                age = query.keys - instants.keys[np.maximum(place, 0)]
                age[place < 0] = np.iinfo(np.int64).max
            known = self._positions[memo] = (place, age)
        return known

    def _union(self, sources: frozenset[str]) -> Instants:
        known = self._unions.get(sources)
        if known is None:
            distinct = {id(i): i for i in (self.block.points(s).instants for s in sorted(sources))}
            members = [i for i in distinct.values() if len(i.keys)] or list(distinct.values())[:1]
            known = members[0] if len(members) == 1 else _merged(members)
            self._unions[sources] = known
        return known

    def _full(self, instants: Instants) -> Query:
        key = ("full", id(instants))
        if key not in self._queries:
            self._queries[key] = Query(instants.keys, instants)
        return self._queries[key]

    def _shifted(self, query: Query, span_ns: int) -> Query:
        key = ("shifted", id(query), span_ns)
        if key not in self._queries:
            outer = None if query.outer is None else self._shifted(query.outer, span_ns)
            self._keep.append(query)
            self._queries[key] = Query(query.keys - span_ns, outer=outer)
        return self._queries[key]

    def _rolling(self, node: Node, query: Query) -> Values:
        inner, span_ns = node.args[0], node.span_ns
        if node.tracked:
            domain = self._track_domain(next(iter(_groups(inner))))
            instants, full, times = domain.instants, domain.query, domain.times
        else:
            instants = self._union(inner.sources)
            full, times = self._full(instants), None
        values = self.at(inner, full)
        low, high = self._bounds(instants, query, span_ns)
        match node.op:
            case "min":
                return windows.extreme(np.minimum, values, low, high)
            case "max":
                return windows.extreme(np.maximum, values, low, high)
            case "mean":
                return windows.mean(values, low, high)
            case "first":
                return windows.first(values, low, high)
            case "any":
                return windows.any_true(values, low, high)
            case "all":
                return windows.all_true(values, low, high)
            case "count":
                number = windows.counts(values == 2, low, high).astype(np.float64)
                return np.where(high > low, number, np.nan)
        if times is None:
            times = self._times_of(instants.keys)
        ends = self._times_of((query.outer or query).keys)
        return windows.slope(values, times, low, high, ends, span_ns)

    def _times_of(self, keys: Ints) -> Ints:
        if id(keys) not in self._times:
            self._keep.append(keys)
            self._times[id(keys)] = self.block.times_of(keys)
        return self._times[id(keys)]

    def _bounds(self, instants: Instants, query: Query, span_ns: int) -> tuple[Ints, Ints]:
        """Positions [low, high) of the instants within (t - span, t] of each query instant t."""
        low = self._position(instants, self._shifted(query, span_ns))[0] + 1
        if query.base is instants:
            high = np.arange(1, len(instants.keys) + 1) if query.picks is None else query.picks + 1
        else:
            high = self._position(instants, query)[0] + 1
        return low, high

    def _reduce(self, node: Node) -> Values:
        """Per instant of the group: whether any track meets the condition, or how many surely do."""
        known = self._reduced.get(id(node))
        if known is None:
            tracks = self._track_domain(node.path)
            codes = self.at(node.args[0], tracks.query)
            lists = len(self.block.points(node.path).instants.keys)
            true = np.bincount(tracks.owner[codes == 2], minlength=lists)
            if node.op == "count_tracks":
                known = true.astype(np.float64)
            else:
                unknown = np.bincount(tracks.owner[codes == 1], minlength=lists)
                known = np.where(true > 0, 2, np.where(unknown > 0, 1, 0)).astype(np.int8)
            self._reduced[id(node)] = known
        return known

    def _track_domain(self, group: str) -> _Tracks:
        known = self._tracks.get(group)
        if known is None:
            known = self._tracks[group] = self._sorted_tracks(group)
        return known

    def _sorted_tracks(self, group: str) -> _Tracks:
        points = self.block.points(group)
        assert points.counts is not None
        owner = np.repeat(np.arange(len(points.counts)), points.counts)
        keys = points.instants.keys[owner]
        segment = self.block.segment_of(keys)
        ids = points.values["Id"]
        order = np.lexsort((owner, ids, segment))
        owner, keys, segment, ids = owner[order], keys[order], segment[order], ids[order]
        begins = np.append(True, (ids[1:] != ids[:-1]) | (segment[1:] != segment[:-1]))[: len(ids)]
        track = np.cumsum(begins) - 1
        span_ns = self.block.span_ns
        if len(track) and (int(track[-1]) + 2) * span_ns >= 2**63:
            raise OverflowError(f"{int(track[-1]) + 1} tracks do not fit one block; poll less")
        track_keys = track * span_ns + (keys - segment * span_ns)
        # an id counts once per instant: its last entry
        last = np.append(track_keys[1:] != track_keys[:-1], True)[: len(ids)]
        instants = Instants(track_keys[last], np.zeros(0, np.int64))
        query = Query(instants.keys, instants, None, Query(keys[last]))
        fields = {n: self._column(group, n, points)[order][last] for n in self.block.program.groups[group]}
        if f"{group}.Id" in self._kinds:
            fields["Id"] = ids[last].astype(np.float64)
        return _Tracks(instants, query, fields, owner[last], self.block.times_of(keys[last]))


def _groups(node: Node) -> set[str]:
    found = {node.path} if node.op == "field" else set()
    return found if found else found.union(*(_groups(a) for a in node.args if a.tracked))


def _merged(members: list[Instants]) -> Instants:
    keys = _distinct(np.concatenate([i.keys for i in members]))
    fresh = _distinct(np.concatenate([i.keys[i.new] for i in members]))
    return Instants(keys, np.searchsorted(keys, fresh))


def _distinct(keys: Ints) -> Ints:
    """Sorted without repeats; the stable sort finds that the parts are sorted already."""
    keys = np.sort(keys, kind="stable")
    result: Ints = keys[np.append(keys[1:] != keys[:-1], True)[: len(keys)]]
    return result


def _pointwise(op: str, values: list[Values]) -> Values:
    a = values[0]
    if op == "not":
        return np.int8(2) - a
    if op == "exists":
        return np.where(a != 1 if a.dtype == np.int8 else ~np.isnan(a), 2, 0).astype(np.int8)
    if op == "neg":
        return -a
    if op == "abs":
        return np.abs(a)
    b = values[1]
    match op:
        case "and":
            return np.minimum(a, b)
        case "or":
            return np.maximum(a, b)
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "div":
            zero = b == 0
            return np.where(zero, np.nan, a / np.where(zero, 1.0, b))
        case "lower_of":
            return np.minimum(a, b)
        case "higher_of":
            return np.maximum(a, b)
        case "lt":
            true, false = a < b, a >= b
        case "le":
            true, false = a <= b, a > b
        case "eq":
            true, false = a == b, (a < b) | (a > b)
        case _:
            raise ValueError(f"unknown operation {op}")
    return np.int8(1) + true.view(np.int8) - false.view(np.int8)

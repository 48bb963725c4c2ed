"""All running triggers' conditions as one program: shared nodes, and exactly what they read and how far back.

What is not read by a trigger is neither decoded nor remembered, so the state per vehicle follows from the
triggers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.triggerlang.errors import ExpressionError
from fleetloop.triggerlang.meaning import Meaning
from fleetloop.triggerlang.nodes import Node, NodeTable


@dataclass(frozen=True, slots=True)
class Condition:
    """What one trigger says in the language."""

    name: str
    expression: str
    named: Mapping[str, str]
    """Conditions that the expression may use, and whose truth at the onset is reported."""
    evidence: tuple[str, ...] = ()
    """Signals whose values at the onset are reported."""
    place: bool = False
    """Whether the position at the onset is needed, for a geofence."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One trigger's nodes."""

    condition: Node
    named: tuple[tuple[str, Node], ...]
    evidence: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled triggers in their given order."""

    triggers: tuple[Compiled, ...]
    signals: Mapping[str, int]
    """Plain signals that are read, with the nanoseconds of points before the last instant to remember."""
    groups: Mapping[str, tuple[str, ...]]
    """Track groups that are read, with the fields read of each (without Id)."""
    group_reach_ns: Mapping[str, int]
    kinds: Mapping[str, str]
    """Catalogue kind per signal path, group fields included."""
    memory_ns: int


LATITUDE, LONGITUDE = "Vehicle.CurrentLocation.Latitude", "Vehicle.CurrentLocation.Longitude"


def compile_program(conditions: Sequence[Condition], catalogue: SignalCatalogue, memory_s: float) -> Program:
    """Compiles all conditions into one program that remembers at most ``memory_s`` of telemetry.

    Raises ``ExpressionError`` for the first that is wrong; check each alone with ``check`` to name all.
    """
    table = NodeTable()
    meaning = Meaning(catalogue, memory_s, table)
    triggers = tuple(_compiled(c, meaning, catalogue) for c in conditions)
    reach: dict[tuple[str, str], int] = {}
    fields: dict[str, set[str]] = {}
    together: list[frozenset[str]] = []
    visited: set[tuple[int, int, int]] = set()

    def visit(node: Node, back_ns: int, list_ns: int = 0) -> None:
        """``back_ns`` before an instant the node is looked at; within a track's condition that is before the instant
        of a list, which may itself be up to ``list_ns`` old.
        """
        if (id(node), back_ns, list_ns) in visited:
            return
        visited.add((id(node), back_ns, list_ns))
        if node.op == "signal":
            # the last point before the reach is kept anyway; passing over NaN may need any of its span
            own_ns = back_ns + list_ns + (node.span_ns if node.skip_nan else 0)
            reach["signal", node.path] = max(reach.get(("signal", node.path), 0), own_ns)
        elif node.op == "field":
            fields.setdefault(node.path, set()).add(node.name)
            # a track may be missing from the lists since: looking back needs as long as its value stays known
            own_ns = back_ns + (list_ns + node.span_ns if back_ns else 0)
            reach["group", node.path] = max(reach.get(("group", node.path), 0), own_ns)
        elif node.op in ("any_track", "count_tracks"):
            fields.setdefault(node.path, set())
            reach["group", node.path] = max(reach.get(("group", node.path), 0), back_ns)
            list_ns = node.span_ns
        elif node.span_ns:
            together.append(node.args[0].sources)
            back_ns += node.span_ns
        for argument in node.args:
            visit(argument, back_ns, list_ns)

    for trigger in triggers:
        for node in (trigger.condition, *(n for _, n in trigger.named), *(n for _, n in trigger.evidence)):
            visit(node, 0)
    _level(reach, together)
    kinds = {p: catalogue[p].kind for kind, p in reach if kind == "signal"}
    kinds |= {f"{g}.{f}": catalogue[f"{g}.{f}"].kind for g, names in fields.items() for f in names}
    return Program(
        triggers=triggers,
        signals={p: ns for (kind, p), ns in reach.items() if kind == "signal"},
        groups={g: tuple(sorted(names - {"Id"})) for g, names in fields.items()},
        group_reach_ns={g: ns for (kind, g), ns in reach.items() if kind == "group"},
        kinds=kinds,
        memory_ns=seconds_to_ns(memory_s),
    )


def check(expression: str, named: Mapping[str, str], catalogue: SignalCatalogue, memory_s: float) -> None:
    """Raises ``ExpressionError`` when a condition that may use named ones cannot be compiled."""
    Meaning(catalogue, memory_s).condition(expression, named)


def _compiled(condition: Condition, meaning: Meaning, catalogue: SignalCatalogue) -> Compiled:
    node = meaning.condition(condition.expression, condition.named)
    named = tuple(
        (name, meaning.condition(source, _others(condition.named, name)))
        for name, source in sorted(condition.named.items())
    )
    paths = list(condition.evidence)
    if condition.place or condition.evidence:
        paths += [p for p in (LATITUDE, LONGITUDE) if p in catalogue and p not in paths]
    evidence = tuple((path, meaning.value(path)) for path in paths)
    return Compiled(node, named, evidence)


def _others(named: Mapping[str, str], name: str) -> dict[str, str]:
    """What a named condition may use: all but itself."""
    return {other: source for other, source in named.items() if other != name}


def _level(reach: dict[tuple[str, str], int], together: Sequence[frozenset[str]]) -> None:
    """Signals that meet in a window keep equally much, so that they keep one common list of instants."""
    changed = True
    while changed:
        changed = False
        for sources in together:
            members = [("signal", s) for s in sources if ("signal", s) in reach]
            most = max((reach[m] for m in members), default=0)
            for member in members:
                if reach[member] < most:
                    reach[member], changed = most, True


__all__ = ["Compiled", "Condition", "ExpressionError", "Program", "check", "compile_program"]

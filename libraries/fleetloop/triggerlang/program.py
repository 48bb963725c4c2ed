"""All running triggers' conditions as one program: nodes that triggers share, what they read, and how far back.

What no trigger reads is neither decoded nor remembered, so the triggers determine the state per vehicle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.triggerlang.errors import ExpressionError
from fleetloop.triggerlang.nodes import Node, NodeTable
from fleetloop.triggerlang.type_checker import TypeChecker


@dataclass(frozen=True, slots=True)
class Condition:
    """One trigger's expressions, as text."""

    name: str
    expression: str
    named: Mapping[str, str]
    """Conditions by name. The expression may use them, and firings report which of them held at the onset."""
    evidence: tuple[str, ...] = ()
    """Signals whose values at the onset firings report."""
    needs_location: bool = False
    """Whether the location at the onset is needed, for a geofence."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One trigger's typed expressions."""

    condition: Node
    named: tuple[tuple[str, Node], ...]
    evidence: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled triggers in the given order, and what they read."""

    triggers: tuple[Compiled, ...]
    signals: Mapping[str, int]
    """Scalar signals that are read, each with how many nanoseconds before the last instant its points are remembered.
    """
    groups: Mapping[str, tuple[str, ...]]
    """Track groups that are read, each with the fields that are read (without Id)."""
    group_reach_ns: Mapping[str, int]
    """For each track group how many nanoseconds before the last instant its lists are remembered."""
    kinds: Mapping[str, str]
    """Catalogue kind per signal path, group fields included."""
    memory_ns: int
    """How long anything is remembered; no window may be longer."""


LATITUDE, LONGITUDE = "Vehicle.CurrentLocation.Latitude", "Vehicle.CurrentLocation.Longitude"


def compile_program(conditions: Sequence[Condition], catalogue: SignalCatalogue, memory_s: float) -> Program:
    """Compiles all conditions into one program that remembers at most ``memory_s`` of telemetry.

    Raises ``ExpressionError`` for the first that is invalid. To find all that are, call ``check`` for each.
    """
    table = NodeTable()
    checker = TypeChecker(catalogue, memory_s, table)
    triggers = tuple(_compiled(c, checker, catalogue) for c in conditions)
    reach: dict[tuple[str, str], int] = {}
    fields: dict[str, set[str]] = {}
    together: list[frozenset[str]] = []
    visited: set[tuple[int, int, int]] = set()

    def visit(node: Node, back_ns: int, list_ns: int = 0) -> None:
        """Notes what a node reads whose value is needed up to ``back_ns`` before an instant.

        Within a track's condition the instant is that of a list, which may itself be up to ``list_ns`` old.
        """
        if (id(node), back_ns, list_ns) in visited:
            return
        visited.add((id(node), back_ns, list_ns))
        if node.op == "signal":
            # The last point before the reach is kept anyway, but one that is passed over as NaN needs earlier ones.
            own_ns = back_ns + list_ns + (node.span_ns if node.skip_nan else 0)
            reach["signal", node.path] = max(reach.get(("signal", node.path), 0), own_ns)
        elif node.op == "field":
            fields.setdefault(node.path, set()).add(node.name)
            # A track may be missing from later lists: its value is found as far back as it stays known.
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
    _equalise(reach, together)
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
    """Raises ``ExpressionError`` if a condition, which may use named ones, cannot be compiled."""
    TypeChecker(catalogue, memory_s).condition(expression, named)


def _compiled(condition: Condition, checker: TypeChecker, catalogue: SignalCatalogue) -> Compiled:
    node = checker.condition(condition.expression, condition.named)
    named = tuple(
        (name, checker.condition(source, _others(condition.named, name)))
        for name, source in sorted(condition.named.items())
    )
    paths = list(condition.evidence)
    if condition.needs_location or condition.evidence:
        paths += [p for p in (LATITUDE, LONGITUDE) if p in catalogue and p not in paths]
    evidence = tuple((path, checker.value(path)) for path in paths)
    return Compiled(node, named, evidence)


def _others(named: Mapping[str, str], name: str) -> dict[str, str]:
    """The named conditions that one of them may use: all others."""
    return {other: source for other, source in named.items() if other != name}


def _equalise(reach: dict[tuple[str, str], int], together: Sequence[frozenset[str]]) -> None:
    """Gives signals that are read by the same window the longest reach of them, so that they share a list of
    instants.
    """
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

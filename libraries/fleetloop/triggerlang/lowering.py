"""Lowers a program of nodes to a list of instructions on registers, which ``machine`` runs for one vehicle at a time.

Everything that does not depend on telemetry is decided here, once per change of the campaigns: which values are
computed at which instants, in which order, and into which registers. A value that is needed twice is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fleetloop.domain.signals import Signal, SignalCatalogue
from fleetloop.triggerlang.kernels import Ints
from fleetloop.triggerlang.kernels import arguments as kernels
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Kind, Op
from fleetloop.triggerlang.kernels.tables import DETAIL_QUERY, INSTRUCTION_WIDTH
from fleetloop.triggerlang.nodes import BOOL, Node
from fleetloop.triggerlang.program import Program

KINDS = {
    "bool": Kind.BOOL, "int32": Kind.INT32, "int64": Kind.INT64, "float32": Kind.FLOAT32, "float64": Kind.FLOAT64,
    "enum": Kind.ENUM,
}  # fmt: skip
"""Kinds by their names in the signal catalogue."""
_POINTWISE = {
    "neg": Op.NEG, "abs": Op.ABS, "add": Op.ADD, "sub": Op.SUB, "mul": Op.MUL, "div": Op.DIV,
    "lower_of": Op.LOWER_OF, "higher_of": Op.HIGHER_OF, "lt": Op.LT, "le": Op.LE, "eq": Op.EQ,
    "and": Op.AND, "or": Op.OR, "not": Op.NOT,
}  # fmt: skip
_ROLLING = {
    "min": Op.MIN, "max": Op.MAX, "mean": Op.MEAN, "first": Op.FIRST, "slope": Op.SLOPE,
    "any": Op.ANY, "all": Op.ALL, "count": Op.COUNT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program as arrays, and what refers to them from outside.

    Columns are what is read from the wire: the scalar signals in the program's order, then each group's Id and
    fields.
    """

    columns: tuple[str, ...]
    """The columns' signal paths."""
    signals: tuple[Signal, ...]
    """(columns,) their entries in the catalogue."""
    program: kernels.Program
    """What the compiled code needs of them."""
    queries: int
    """Number of queries; query 0 is the onsets whose details are reported."""
    named: tuple[int, ...]
    """Per trigger, how many named conditions a firing reports."""
    evidence: tuple[int, ...]
    """Per trigger, how many values a firing reports."""


def lower(program: Program, catalogue: SignalCatalogue) -> Lowered:
    """The instructions of a program whose signals are the catalogue's."""
    return _Lowering(program, catalogue).run()


@dataclass(slots=True)
class _Known:
    """What instructions have been emitted for."""

    registers: dict[tuple[int, int], int]
    """(node's id, query) -> register."""
    queries: dict[tuple[int, int, int], int]
    """(instruction, what, span) -> query."""


class _Lowering:
    def __init__(self, program: Program, catalogue: SignalCatalogue) -> None:
        self.program = program
        self.sources = {path: i for i, path in enumerate([*program.signals, *program.groups])}
        columns, first = list(program.signals), []
        for group, names in program.groups.items():
            first.append(len(columns))
            columns += [f"{group}.{name}" for name in ("Id", *names)]
        self.group_first = [*first, len(columns)]
        self.columns = columns
        self.signals = tuple(catalogue[path] for path in columns)
        self.instructions: list[list[int]] = []
        self.unions: dict[frozenset[str], int] = {}
        # The truth values come first, so that a condition with one truth value throughout is one of these pages.
        self.constants: dict[tuple[float, bool], int] = {(float(t), True): t for t in (FALSE, UNKNOWN, TRUE)}
        self.number_writer: list[int] = []
        self.truth_writer: list[int] = []
        self.query_count = DETAIL_QUERY + 1
        self.known = _Known({}, {})
        self.fully: set[tuple[int, frozenset[str]]] = set()
        """(node's id, sources) of values that are computed at all instants of the sources."""

    def run(self) -> Lowered:
        triggers = self.program.triggers
        for trigger in triggers:
            self._note_windows(trigger.condition)
        decisions = []
        for trigger in triggers:
            query = self._query(Op.NEW, self._union(trigger.condition.sources))
            decisions.append((self._value(trigger.condition, query), query))
        after_deciding = self.known
        part_first, named, evidence = [0, len(self.instructions)], list[int](), list[tuple[int, int]]()
        for trigger in triggers:
            # Each trigger's details know what all decide, but not what other triggers' details compute.
            self.known = _Known(dict(after_deciding.registers), dict(after_deciding.queries))
            named += [self._value(node, DETAIL_QUERY) for _, node in trigger.named]
            evidence += [(int(node.kind == BOOL), self._value(node, DETAIL_QUERY)) for _, node in trigger.evidence]
            part_first.append(len(self.instructions))
        named_counts = tuple(len(trigger.named) for trigger in triggers)
        evidence_counts = tuple(len(trigger.evidence) for trigger in triggers)
        reach = [*self.program.signals.values(), *self.program.group_reach_ns.values()]
        program = kernels.Program(
            kinds=_ints([KINDS[s.kind] for s in self.signals]),
            scalars=len(self.program.signals),
            group_first=_ints(self.group_first),
            reach_ns=_ints(reach),
            instructions=_ints(self.instructions).reshape(-1, INSTRUCTION_WIDTH),
            part_first=_ints(part_first),
            number_writer=_ints(self.number_writer),
            truth_writer=_ints(self.truth_writer),
            unions=_ints([self.sources[s] for u in self.unions for s in sorted(u)]),
            union_first=_firsts(map(len, self.unions)),
            constants=np.array([number for number, _ in self.constants], np.float64),
            decisions=_ints(decisions).reshape(-1, 2),
            named_first=_firsts(named_counts),
            named=_ints(named),
            evidence_first=_firsts(evidence_counts),
            evidence=_ints(evidence).reshape(-1, 2),
        )
        return Lowered(tuple(self.columns), self.signals, program, self.query_count, named_counts, evidence_counts)

    def _note_windows(self, node: Node) -> None:
        """Notes what windows need at all instants: at the new instants it is then the end of these values."""
        if node.op in _ROLLING and not node.tracked:
            self._note_full(node.args[0], node.args[0].sources)
        for argument in node.args:
            self._note_windows(argument)

    def _note_full(self, node: Node, sources: frozenset[str]) -> None:
        if (id(node), sources) in self.fully:
            return
        self.fully.add((id(node), sources))
        if node.op in _POINTWISE or node.op == "exists":
            for argument in node.args:
                self._note_full(argument, sources)

    def _union(self, sources: frozenset[str]) -> int:
        return self.unions.setdefault(sources, len(self.unions))

    def _query(self, op: Op, what: int, span_ns: int = 0) -> int:
        """The query of a union's new or all instants, of another query shifted, or of a group's entries."""
        key = (int(op), what, span_ns)
        if key not in self.known.queries:
            self.known.queries[key] = self.query_count
            self.query_count += 1
            self._emit(op, self.known.queries[key], what=what, span_ns=span_ns)
        return self.known.queries[key]

    def _shifted(self, query: int, span_ns: int) -> int:
        return self._query(Op.SHIFTED, query, span_ns)

    def _emit(
        self, op: Op, result: int, a: int = -1, b: int = -1, query: int = -1, what: int = -1, span_ns: int = 0,
        field: int = -1,
    ) -> None:  # fmt: skip
        self.instructions.append([int(op), result, a, b, query, what, span_ns, field])

    def _register(self, node: Node) -> int:
        return self._truth_register() if node.kind == BOOL else self._number_register()

    def _number_register(self) -> int:
        """A register that the next instruction writes."""
        self.number_writer.append(len(self.instructions))
        return len(self.number_writer) - 1

    def _truth_register(self) -> int:
        self.truth_writer.append(len(self.instructions))
        return len(self.truth_writer) - 1

    def _value(self, node: Node, query: int) -> int:
        key = (id(node), query)
        known = self.known.registers.get(key)
        if known is None:
            known = self.known.registers[key] = self._lowered(node, query)
        return known

    def _lowered(self, node: Node, query: int) -> int:
        is_truth = node.kind == BOOL
        if node.op == "const":
            page = self.constants.setdefault((node.number, is_truth), len(self.constants))
            result = self._register(node)
            self._emit(Op.CONST_TRUTH if is_truth else Op.CONST_NUMBER, result, query=query, what=page)
            return result
        sources = self._new_of(query)
        if sources is not None and (id(node), sources) in self.fully:
            full = self._query(Op.FULL, self._union(sources))
            inner = self._value(node, full)
            result = self._register(node)
            self._emit(Op.SUFFIX_TRUTH if is_truth else Op.SUFFIX_NUMBER, result, inner, full, query)
            return result
        if node.op == "signal":
            result = self._register(node)
            op = Op.HOLD_TRUTH if is_truth else Op.HOLD_KNOWN if node.skip_nan else Op.HOLD_NUMBER
            self._emit(op, result, query=query, what=self.sources[node.path], span_ns=node.span_ns)
            return result
        if node.op == "field":
            group = self.sources[node.path] - len(self.program.signals)
            names = ("Id", *self.program.groups[node.path])
            result = self._register(node)
            column = self.group_first[group] + names.index(node.name)
            op = Op.FIELD_TRUTH if is_truth else Op.FIELD_NUMBER
            self._emit(op, result, query=query, what=group, span_ns=node.span_ns, field=column)
            return result
        if node.op in ("any_track", "count_tracks"):
            group = self.sources[node.path] - len(self.program.signals)
            inner = self._value(node.args[0], self._query(Op.TRACKS, group))
            result = self._register(node)
            op = Op.ANY_TRACK if node.op == "any_track" else Op.COUNT_TRACKS
            self._emit(op, result, inner, query=query, what=group, span_ns=node.span_ns)
            return result
        if node.op == "lag":
            return self._value(node.args[0], self._shifted(query, node.span_ns))
        if node.op in _ROLLING:
            return self._rolling(node, query)
        arguments = [self._value(a, query) for a in node.args]
        result = self._register(node)
        if node.op == "exists":
            op = Op.EXISTS_TRUTH if node.args[0].kind == BOOL else Op.EXISTS_NUMBER
        else:
            op = _POINTWISE[node.op]
        self._emit(op, result, arguments[0], arguments[1] if len(arguments) > 1 else -1, query=query)
        return result

    def _new_of(self, query: int) -> frozenset[str] | None:
        """The sources of the union whose new instants a query is, or None for another query."""
        for (op, what, _), number in self.known.queries.items():
            if number == query:
                return list(self.unions)[what] if op == Op.NEW else None
        return None

    def _rolling(self, node: Node, query: int) -> int:
        inner = node.args[0]
        if node.tracked:
            group = self.sources[_group_of(inner)] - len(self.program.signals)
            domain = self._query(Op.TRACKS, group)
            union = -1
        else:
            union, group = self._union(inner.sources), -1
            domain = self._query(Op.FULL, union)
        values = self._value(inner, domain)
        result = self._register(node)
        self._emit(_ROLLING[node.op], result, values, domain, query, group, node.span_ns)
        return result


def _ints(values: Sequence[object]) -> Ints:
    return np.array(values, np.int64)


def _firsts(sizes: Iterable[int]) -> Ints:
    """(len(sizes) + 1,) where each of the stretches of these sizes begins, end to end."""
    return np.cumsum([0, *sizes], dtype=np.int64)


def _group_of(node: Node) -> str:
    return node.path if node.op == "field" else _group_of(next(a for a in node.args if a.tracked))

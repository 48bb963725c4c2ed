"""From a program of nodes to a list of instructions over registers, which ``machine`` runs for one vehicle at
a time.

Everything that does not depend on telemetry is settled here, once per change of the campaigns: which values
are wanted at which instants, in which order, and into which register. What is wanted twice is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetloop.domain.signals import Signal, SignalCatalogue
from fleetloop.triggerlang.kernels.opcodes import Kind, Op
from fleetloop.triggerlang.nodes import BOOL, Node
from fleetloop.triggerlang.program import Program

Ints = npt.NDArray[np.int64]


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
WIDTH = 8
"""Numbers of an instruction: op, result, a, b, query, source or group or union, span in ns, field."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program as arrays. Columns are what is read from the wire: the plain signals in the program's order,
    then each group's Id and fields.
    """

    columns: tuple[str, ...]
    kinds: Ints
    """(columns,) ``opcodes.Kind``."""
    signals: tuple[Signal, ...]
    """(columns,) their entries in the catalogue."""
    plain: int
    """How many of the columns are plain signals: source i is column i."""
    group_first: Ints
    """(groups + 1,) first column of each group, which is its Id; source plain + g is group g."""
    reach_ns: Ints
    """(sources,) how long before the last instant points are remembered."""
    code: Ints
    """(instructions, WIDTH)"""
    main: int
    """The first so many instructions decide; the rest are the triggers' details."""
    unions: Ints
    """Sources of all unions, end to end."""
    union_first: Ints
    constants: npt.NDArray[np.float64]
    queries: int
    floats: int
    codes: int
    float_made: Ints
    """(floats,) the instruction that makes each float register."""
    code_made: Ints
    """(codes,) likewise."""
    triggers: Ints
    """(triggers, 2) the code register that decides, and its query."""
    detail_first: Ints
    """(triggers + 1,) each trigger's instructions for what its firings report."""
    named: tuple[Ints, ...]
    """Per trigger, the code register of each named condition."""
    evidence: tuple[tuple[tuple[bool, int], ...], ...]
    """Per trigger, for each reported value whether it is a condition, and its register."""


def lower(program: Program, catalogue: SignalCatalogue) -> Lowered:
    """The instructions of a program whose signals are the catalogue's."""
    return _Lowering(program, catalogue).run()


@dataclass(slots=True)
class _Made:
    """What exists so far: registers by node and query, queries by what they are."""

    registers: dict[tuple[int, int], int]
    queries: dict[tuple[int, int, int], int]


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
        self.code: list[list[int]] = []
        self.unions: dict[frozenset[str], int] = {}
        # the codes stand first: a condition that has one code throughout is one of them
        self.constants: dict[tuple[float, bool], int] = {(0.0, True): 0, (1.0, True): 1, (2.0, True): 2}
        self.floats = self.codes = 0
        self.float_made: list[int] = []
        self.code_made: list[int] = []
        self.query_count = 1
        """Query 0 is the instants that details are wanted at."""
        self.made = _Made({}, {})
        self.fully: set[tuple[int, frozenset[str]]] = set()
        self.outer: dict[int, int] = {}

    def run(self) -> Lowered:
        for trigger in self.program.triggers:
            self._note_windows(trigger.condition)
        decisions = []
        for trigger in self.program.triggers:
            query = self._query(Op.NEW, self._union(trigger.condition.sources))
            decisions.append((self._value(trigger.condition, query), query))
        main, after_main = len(self.code), self.made
        detail_first, named, evidence = [len(self.code)], [], []
        for trigger in self.program.triggers:
            self.made = _Made(dict(after_main.registers), dict(after_main.queries))
            named.append(np.array([self._value(node, 0) for _, node in trigger.named], np.int64))
            evidence.append(tuple((node.kind == BOOL, self._value(node, 0)) for _, node in trigger.evidence))
            detail_first.append(len(self.code))
        union_first = np.cumsum([0, *(len(u) for u in self.unions)])
        reach = [*self.program.signals.values(), *self.program.group_reach_ns.values()]
        return Lowered(
            columns=tuple(self.columns),
            kinds=np.array([KINDS[s.kind] for s in self.signals], np.int64),
            signals=self.signals,
            plain=len(self.program.signals),
            group_first=np.array(self.group_first, np.int64),
            reach_ns=np.array(reach, np.int64),
            code=np.array(self.code, np.int64).reshape(-1, WIDTH),
            main=main,
            unions=np.array([self.sources[s] for u in self.unions for s in sorted(u)], np.int64),
            union_first=union_first.astype(np.int64),
            constants=np.array([number for number, _ in self.constants], np.float64),
            queries=self.query_count,
            floats=self.floats,
            codes=self.codes,
            float_made=np.array(self.float_made, np.int64),
            code_made=np.array(self.code_made, np.int64),
            triggers=np.array(decisions, np.int64).reshape(-1, 2),
            detail_first=np.array(detail_first, np.int64),
            named=tuple(named),
            evidence=tuple(evidence),
        )

    def _note_windows(self, node: Node) -> None:
        """Remembers what windows will want over all instants, of which the new ones are then a part."""
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
        """Instants: of a union's new ones or all, another query's shifted, or a group's entries by track."""
        key = (int(op), what, span_ns)
        if key not in self.made.queries:
            self.made.queries[key] = self.query_count
            self.query_count += 1
            self._emit(op, self.made.queries[key], what=what, span_ns=span_ns)
        return self.made.queries[key]

    def _shifted(self, query: int, span_ns: int) -> int:
        return self._query(Op.SHIFTED, query, span_ns)

    def _emit(
        self, op: Op, result: int, a: int = -1, b: int = -1, query: int = -1, what: int = -1, span_ns: int = 0,
        field: int = -1,
    ) -> None:  # fmt: skip
        self.code.append([int(op), result, a, b, query, what, span_ns, field])

    def _register(self, node: Node) -> int:
        return self._code_register() if node.kind == BOOL else self._float_register()

    def _float_register(self) -> int:
        self.float_made.append(len(self.code))
        self.floats += 1
        return self.floats - 1

    def _code_register(self) -> int:
        self.code_made.append(len(self.code))
        self.codes += 1
        return self.codes - 1

    def _value(self, node: Node, query: int) -> int:
        key = (id(node), query)
        known = self.made.registers.get(key)
        if known is None:
            known = self.made.registers[key] = self._lowered(node, query)
        return known

    def _lowered(self, node: Node, query: int) -> int:
        is_code = node.kind == BOOL
        if node.op == "const":
            page = self.constants.setdefault((node.number, is_code), len(self.constants))
            result = self._register(node)
            self._emit(Op.CONST_C if is_code else Op.CONST_F, result, query=query, what=page)
            return result
        sources = self._new_of(query)
        if sources is not None and (id(node), sources) in self.fully:
            full = self._query(Op.FULL, self._union(sources))
            inner = self._value(node, full)
            result = self._register(node)
            self._emit(Op.SUFFIX_C if is_code else Op.SUFFIX_F, result, inner, full, query)
            return result
        if node.op == "signal":
            result = self._register(node)
            op = Op.HOLD_C if is_code else Op.HOLD_KNOWN if node.skip_nan else Op.HOLD_F
            self._emit(op, result, query=query, what=self.sources[node.path], span_ns=node.span_ns)
            return result
        if node.op == "field":
            group = self.sources[node.path] - len(self.program.signals)
            names = ("Id", *self.program.groups[node.path])
            result = self._register(node)
            place = self.group_first[group] + names.index(node.name)
            op = Op.FIELD_C if is_code else Op.FIELD_F
            self._emit(op, result, query=query, what=group, span_ns=node.span_ns, field=place)
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
            op = Op.EXISTS_C if node.args[0].kind == BOOL else Op.EXISTS_F
        else:
            op = _POINTWISE[node.op]
        self._emit(op, result, arguments[0], arguments[1] if len(arguments) > 1 else -1, query=query)
        return result

    def _new_of(self, query: int) -> frozenset[str] | None:
        """The union whose new instants a query is."""
        for (op, what, _), number in self.made.queries.items():
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


def _group_of(node: Node) -> str:
    return node.path if node.op == "field" else _group_of(next(a for a in node.args if a.tracked))

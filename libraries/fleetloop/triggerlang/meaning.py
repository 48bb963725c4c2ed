"""Syntax tree to typed nodes: what each name, unit and window means, or an error at its place.

Checked here, before a trigger is deployed: signals against the catalogue, units against each other, every
window against the memory that the detector keeps. Units are converted on constants wherever possible, so that
``Vehicle.Speed > 30 km/h`` compares with exactly 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from fleetloop.domain.signals import Signal, SignalCatalogue
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.triggerlang.errors import ExpressionError
from fleetloop.triggerlang.nodes import BOOL, ENUM, NUMBER, Node, NodeTable
from fleetloop.triggerlang.syntax import Call, Name, Number, Operation, Syntax, Text, Truth, parse
from fleetloop.triggerlang.units import PURE, SECOND, UNITS, Unit

MAX_NODES = 500
_ROLLING_NUMBER = ("min", "max", "mean", "first", "slope")
_ROLLING_BOOL = ("any", "all", "count")
_TRACKS = ("any_track", "count_tracks")
_COMPARE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
FUNCTIONS = ["abs", "lower_of", "higher_of", "exists", "lag", "delta", "last", "debounce", "excursion"]
FUNCTIONS += [*_ROLLING_NUMBER, *_ROLLING_BOOL, *_TRACKS]


@dataclass(frozen=True, slots=True)
class _Typed:
    node: Node
    unit: Unit = PURE
    values: tuple[str, ...] = ()
    """An enum's values."""


class Meaning:
    """Turns expressions into nodes of one table."""

    def __init__(self, catalogue: SignalCatalogue, memory_s: float, table: NodeTable | None = None) -> None:
        self._catalogue = catalogue
        self._memory_ns = seconds_to_ns(memory_s)
        self._table = table if table is not None else NodeTable()

    def condition(self, source: str, named: Mapping[str, str] | None = None) -> Node:
        """The node of a condition; ``named`` conditions may be used by their names.

        Raises ``ExpressionError`` with the place marked.
        """
        reader = _Reader(source, self._catalogue, self._memory_ns, self._table, dict(named or {}))
        typed = reader.read(parse(source), "")
        if typed.node.kind != BOOL:
            raise ExpressionError("a condition is true or false, this is a value; compare it", source, 0)
        if not typed.node.sources:
            raise ExpressionError("the condition reads no signal", source, 0)
        back_ns = typed.node.lookback_ns
        if back_ns > self._memory_ns:
            raise ExpressionError(
                f"nested windows reach back {ns_to_seconds(back_ns):g} s, "
                f"over the {ns_to_seconds(self._memory_ns):g} s that are kept",
                source,
                0,
            )
        return typed.node

    def value(self, path: str) -> Node:
        """The node of a signal's last known value, for evidence. Raises ``ExpressionError``."""
        return _Reader(path, self._catalogue, self._memory_ns, self._table, {}).name(Name(path, 0), "").node


class _Reader:
    def __init__(
        self,
        source: str,
        catalogue: SignalCatalogue,
        memory_ns: int,
        table: NodeTable,
        named: dict[str, str],
    ) -> None:
        self.source = source
        self.catalogue = catalogue
        self.memory_ns = memory_ns
        self.table = table
        self.named = named
        self.count = 0

    def fail(self, message: str, tree: Syntax) -> ExpressionError:
        return ExpressionError(message, self.source, tree.position)

    def make(self, op: str, *args: Node, kind: str = NUMBER, span_ns: int = 0) -> Node:
        tracked = op not in _TRACKS and any(a.tracked for a in args)
        return self.table.make(op, args, kind, span_ns=span_ns, tracked=tracked)

    def constant(self, value: float, kind: str = NUMBER) -> Node:
        return self.table.make("const", (), kind, number=value)

    def read(self, tree: Syntax, group: str) -> _Typed:
        """``group`` is the track group whose fields are in scope, or empty."""
        self.count += 1
        if self.count > MAX_NODES:
            raise self.fail(f"the expression has more than {MAX_NODES} operations", tree)
        match tree:
            case Number():
                return _Typed(self.constant(tree.value), UNITS[tree.unit] if tree.unit else PURE)
            case Truth():
                return _Typed(self.constant(2.0 if tree.value else 0.0, BOOL))
            case Text():
                raise self.fail('a quoted word can only be compared with an enum: X == "red"', tree)
            case Name():
                return self.name(tree, group)
            case Operation():
                return self.operation(tree, group)
            case Call():
                return self.call(tree, group)

    def name(self, tree: Name, group: str) -> _Typed:
        if group and f"{group}.{tree.path}" in self.catalogue:
            return self.field(self.catalogue[f"{group}.{tree.path}"], group, tree)
        if tree.path in self.named:
            return self.named_condition(tree)
        if tree.path not in self.catalogue:
            known = [*self.catalogue.signals, *self.named]
            near = get_close_matches(tree.path, known, 1, 0.5)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            if self.catalogue.group(tree.path):
                hint = f"; it is a track group: any_track({tree.path}, <condition on a track>)"
            raise self.fail(f"unknown signal `{tree.path}`{hint}", tree)
        signal = self.catalogue[tree.path]
        if signal.ragged:
            raise self.fail(f"`{tree.path}` is a list per instant; use any_track({signal.group()}, ...)", tree)
        return self.signal(signal, tree)

    def named_condition(self, tree: Name) -> _Typed:
        """Another condition by its name; it may use further ones, but not itself."""
        source = self.named[tree.path]
        others = {name: text for name, text in self.named.items() if name != tree.path}
        inner = _Reader(source, self.catalogue, self.memory_ns, self.table, others)
        inner.count = self.count
        typed = inner.read(parse(source), "")
        self.count = inner.count
        return typed

    def signal(self, signal: Signal, tree: Syntax, known_ns: int = 0, skip_nan: bool = False) -> _Typed:
        kind = self.kind_of(signal, tree)
        span_ns = known_ns or min(seconds_to_ns(signal.max_age_s), self.memory_ns)
        node = self.table.make("signal", (), kind, path=signal.path, span_ns=span_ns, skip_nan=skip_nan)
        return _Typed(node, self.unit_of(signal, tree), signal.values)

    def field(self, signal: Signal, group: str, tree: Syntax) -> _Typed:
        kind = self.kind_of(signal, tree)
        name = signal.path.rpartition(".")[2]
        span_ns = min(seconds_to_ns(signal.max_age_s), self.memory_ns)
        node = self.table.make("field", (), kind, path=group, name=name, span_ns=span_ns, tracked=True)
        return _Typed(node, self.unit_of(signal, tree), signal.values)

    def kind_of(self, signal: Signal, tree: Syntax) -> str:
        if signal.kind == "string":
            raise self.fail(f"`{signal.path}` is free text, which a trigger cannot read", tree)
        return {"bool": BOOL, "enum": ENUM}.get(signal.kind, NUMBER)

    def unit_of(self, signal: Signal, tree: Syntax) -> Unit:
        if signal.unit and signal.unit not in UNITS:
            raise self.fail(f"the catalogue gives `{signal.path}` the unit `{signal.unit}`, unknown here", tree)
        return UNITS[signal.unit] if signal.unit else PURE

    def operation(self, tree: Operation, group: str) -> _Typed:
        if tree.operator in ("==", "!="):
            enum = self.enum_comparison(tree, group)
            if enum is not None:
                return enum
        parts = [self.read(operand, group) for operand in tree.operands]
        nodes = [p.node for p in parts]
        if tree.operator in ("and", "or", "not"):
            for part, operand in zip(parts, tree.operands, strict=True):
                self.need(BOOL, part, operand, f"`{tree.operator}` joins conditions")
            return _Typed(self.make(tree.operator, *nodes, kind=BOOL))
        for part, operand in zip(parts, tree.operands, strict=True):
            self.need(NUMBER, part, operand, f"`{tree.operator}` works on numbers")
        if len(parts) == 1:
            number = nodes[0]
            negative = self.constant(-number.number) if number.op == "const" else self.make("neg", number)
            return _Typed(negative, parts[0].unit)
        left, right = parts
        if tree.operator in ("*", "/"):
            unit = left.unit.times(right.unit) if tree.operator == "*" else left.unit.per(right.unit)
            return _Typed(self.make(_ARITHMETIC[tree.operator], *nodes), unit)
        left, right = self.alike(left, right, tree)
        if tree.operator in _COMPARE:
            op, a, b = _COMPARE[tree.operator], left.node, right.node
            if op in ("gt", "ge"):
                op, a, b = {"gt": "lt", "ge": "le"}[op], b, a
            if op == "ne":
                return _Typed(self.make("not", self.make("eq", a, b, kind=BOOL), kind=BOOL))
            return _Typed(self.make(op, a, b, kind=BOOL))
        return _Typed(self.make(_ARITHMETIC[tree.operator], left.node, right.node), left.unit)

    def enum_comparison(self, tree: Operation, group: str) -> _Typed | None:
        """``X == "word"``; None when neither side is a quoted word."""
        texts = [o for o in tree.operands if isinstance(o, Text)]
        if not texts:
            return None
        other = tree.operands[0] if texts[0] is tree.operands[1] else tree.operands[1]
        typed = self.read(other, group)
        self.need(ENUM, typed, other, "a quoted word is an enum's value")
        if texts[0].value not in typed.values:
            words = ", ".join(f'"{v}"' for v in typed.values)
            raise self.fail(f'"{texts[0].value}" is not one of {words}', texts[0])
        code = self.constant(float(typed.values.index(texts[0].value)), ENUM)
        equal = self.make("eq", typed.node, code, kind=BOOL)
        return _Typed(equal if tree.operator == "==" else self.make("not", equal, kind=BOOL))

    def need(self, kind: str, typed: _Typed, tree: Syntax, why: str) -> None:
        if typed.node.kind != kind:
            names = {BOOL: "a condition", NUMBER: "a number", ENUM: "an enum"}
            raise self.fail(f"{why}: expected {names[kind]}, this is {names[typed.node.kind]}", tree)

    def alike(self, left: _Typed, right: _Typed, tree: Operation | Call) -> tuple[_Typed, _Typed]:
        """Both in one unit: a constant is converted rather than a signal. Zero needs no unit."""
        if left.unit == right.unit:
            return left, right
        if left.unit.powers != right.unit.powers:
            for zero, other in ((left, right), (right, left)):
                if zero.node.op == "const" and zero.node.number == 0 and zero.unit == PURE:
                    zeroed = _Typed(zero.node, other.unit)
                    return (zeroed, other) if zero is left else (other, zeroed)
            names = left.unit.name(), right.unit.name()
            place = tree.operands[1] if isinstance(tree, Operation) else tree.arguments[1]
            bare = isinstance(place, Number) and not place.unit
            hint = f"; give the number a unit, such as {left.unit.name()}" if bare else ""
            raise self.fail(f"{names[0]} and {names[1]} cannot be combined{hint}", place)
        if left.node.op == "const":
            return self.converted(left, right.unit), right
        return left, self.converted(right, left.unit)

    def converted(self, typed: _Typed, unit: Unit) -> _Typed:
        factor = typed.unit.factor / unit.factor
        if typed.node.op == "const":
            return _Typed(self.constant(typed.node.number * factor), unit)
        return _Typed(self.make("mul", typed.node, self.constant(factor)), unit)

    def duration(self, tree: Syntax, what: str) -> int:
        if not isinstance(tree, Number) or tree.unit not in ("s", "ms", "min"):
            raise self.fail(f"{what} must be written out, such as `0.5 s`: an open one cannot be kept", tree)
        span_ns = seconds_to_ns(tree.value * UNITS[tree.unit].factor)
        if span_ns <= 0:
            raise self.fail(f"{what} must be longer than nothing", tree)
        if span_ns > self.memory_ns:
            kept = f"{ns_to_seconds(self.memory_ns):g} s"
            raise self.fail(f"{what} is {ns_to_seconds(span_ns):g} s, over the {kept} that are kept", tree)
        return span_ns

    def call(self, tree: Call, group: str) -> _Typed:
        function, arguments = tree.function, tree.arguments
        if function not in FUNCTIONS:
            near = get_close_matches(function, FUNCTIONS, 1, 0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(FUNCTIONS)}"
            raise self.fail(f"unknown function `{function}`{hint}", tree)
        wanted = 1 if function in ("abs", "exists") else 2
        if len(arguments) != wanted:
            hint = ", the second how long, such as `1 s`" if wanted == 2 and len(arguments) == 1 else ""
            raise self.fail(f"`{function}` takes {wanted} argument{'s' * (wanted > 1)}{hint}", tree)
        if function in _TRACKS:
            return self.tracks(tree, group)
        if function == "last":
            return self.last(tree)
        first = self.read(arguments[0], group)
        if function == "exists":
            return _Typed(self.make("exists", first.node, kind=BOOL))
        if function in ("any", "all", "count", "debounce"):
            self.need(BOOL, first, arguments[0], f"`{function}` looks at a condition")
        elif function != "lag":
            self.need(NUMBER, first, arguments[0], f"`{function}` looks at a number")
        if function == "abs":
            return _Typed(self.make("abs", first.node), first.unit)
        if function in ("lower_of", "higher_of"):
            second = self.read(arguments[1], group)
            self.need(NUMBER, second, arguments[1], f"`{function}` works on numbers")
            first, second = self.alike(first, second, tree)
            return _Typed(self.make(function, first.node, second.node), first.unit)
        span_ns = self.duration(arguments[1], "the lag" if function in ("lag", "delta") else "the window")
        return self.over_time(function, first, span_ns, tree)

    def over_time(self, function: str, first: _Typed, span_ns: int, tree: Call) -> _Typed:
        node = first.node
        if not node.sources:
            raise self.fail(f"`{function}` looks back at a signal, and this reads none", tree)
        if function == "lag":
            return _Typed(self.make("lag", node, kind=node.kind, span_ns=span_ns), first.unit, first.values)
        if function == "delta":
            return _Typed(self.make("sub", node, self.make("lag", node, span_ns=span_ns)), first.unit)
        if function == "debounce":
            held = self.make("all", node, kind=BOOL, span_ns=span_ns)
            before = self.make("lag", node, kind=BOOL, span_ns=span_ns)
            return _Typed(self.make("and", held, before, kind=BOOL))
        if function == "excursion":
            start = self.make("first", node, span_ns=span_ns)
            low, high = self.make("min", node, span_ns=span_ns), self.make("max", node, span_ns=span_ns)
            dip = self.make("sub", self.make("lower_of", start, node), low)
            peak = self.make("sub", high, self.make("higher_of", start, node))
            return _Typed(self.make("higher_of", dip, peak), first.unit)
        kind = BOOL if function in ("any", "all") else NUMBER
        unit = {"slope": first.unit.per(SECOND), "count": PURE}.get(function, first.unit)
        return _Typed(self.make(function, node, kind=kind, span_ns=span_ns), unit)

    def last(self, tree: Call) -> _Typed:
        name = tree.arguments[0]
        if not isinstance(name, Name) or name.path not in self.catalogue or self.catalogue[name.path].ragged:
            raise self.fail("`last` takes one plain signal: last(Vehicle.Speed, 5 s)", name)
        span_ns = self.duration(tree.arguments[1], "how long the value stays known")
        return self.signal(self.catalogue[name.path], name, span_ns, skip_nan=True)

    def tracks(self, tree: Call, group: str) -> _Typed:
        name, predicate = tree.arguments
        if group:
            raise self.fail("track conditions cannot be nested", tree)
        if not isinstance(name, Name) or not self.catalogue.group(name.path):
            groups = sorted({s.group() for s in self.catalogue.signals.values() if s.ragged})
            raise self.fail(f"`{tree.function}` takes a track group first: {', '.join(groups)}", name)
        identity = f"{name.path}.Id"
        if identity not in self.catalogue:
            raise self.fail(f"`{name.path}` has no Id, so its tracks cannot be told apart", name)
        typed = self.read(predicate, name.path)
        self.need(BOOL, typed, predicate, f"`{tree.function}` takes a condition on a track second")
        if not typed.node.tracked:
            raise self.fail(f"the condition reads no field of {name.path}", predicate)
        span_ns = min(seconds_to_ns(self.catalogue[identity].max_age_s), self.memory_ns)
        kind = BOOL if tree.function == "any_track" else NUMBER
        node = self.table.make(tree.function, (typed.node,), kind, path=name.path, span_ns=span_ns)
        return _Typed(node)

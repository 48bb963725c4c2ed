"""Turns the syntax tree of an expression into typed nodes, or reports an error with its position.

It checks, before a trigger is deployed, signals against the catalogue, units against each other, and every window
against the time that the detector remembers. Where possible a constant is converted instead of a signal, so that
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
"""Most operations of an expression, named conditions included."""
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
    """The words of an enum, in the order of their numbers."""


class TypeChecker:
    """Type-checks expressions; equal operations of all of them become one node."""

    def __init__(self, catalogue: SignalCatalogue, memory_s: float, table: NodeTable | None = None) -> None:
        self._catalogue = catalogue
        self._memory_ns = seconds_to_ns(memory_s)
        self._table = table if table is not None else NodeTable()

    def condition(self, source: str, named: Mapping[str, str] | None = None) -> Node:
        """The node of a condition, which may use ``named`` conditions by their names.

        Raises ``ExpressionError``, which marks the position of the first error.
        """
        checker = _ExpressionChecker(source, self._catalogue, self._memory_ns, self._table, dict(named or {}))
        typed = checker.check(parse(source), "")
        if typed.node.kind != BOOL:
            raise ExpressionError("expected a condition, found a value; compare it with something", source, 0)
        if not typed.node.sources:
            raise ExpressionError("the condition reads no signal; use at least one", source, 0)
        back_ns = typed.node.lookback_ns
        if back_ns > self._memory_ns:
            kept_s = ns_to_seconds(self._memory_ns)
            message = (
                f"nested windows reach back {ns_to_seconds(back_ns):g} s, more than the {kept_s:g} s that are kept"
            )
            raise ExpressionError(message, source, 0)
        return typed.node

    def value(self, path: str) -> Node:
        """The node of a signal's last known value, for evidence. Raises ``ExpressionError``."""
        return (
            _ExpressionChecker(path, self._catalogue, self._memory_ns, self._table, {}).name(Name(path, 0), "").node
        )


class _ExpressionChecker:
    """Checks one expression. ``group`` arguments name the track group whose fields are in scope, or are empty."""

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

    def error(self, message: str, tree: Syntax) -> ExpressionError:
        return ExpressionError(message, self.source, tree.position)

    def make(self, op: str, *args: Node, kind: str = NUMBER, span_ns: int = 0) -> Node:
        tracked = op not in _TRACKS and any(a.tracked for a in args)
        return self.table.make(op, args, kind, span_ns=span_ns, tracked=tracked)

    def constant(self, value: float, kind: str = NUMBER) -> Node:
        return self.table.make("const", (), kind, number=value)

    def check(self, tree: Syntax, group: str) -> _Typed:
        self.count += 1
        if self.count > MAX_NODES:
            raise self.error(f"the expression has more than {MAX_NODES} operations; simplify it", tree)
        match tree:
            case Number():
                return _Typed(self.constant(tree.value), UNITS[tree.unit] if tree.unit else PURE)
            case Truth():
                return _Typed(self.constant(2.0 if tree.value else 0.0, BOOL))
            case Text():
                raise self.error('a quoted word can only be compared with an enum, as in X == "red"', tree)
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
                hint = f"; it is a track group, use any_track({tree.path}, <condition on a track>)"
            raise self.error(f"unknown signal `{tree.path}`{hint}", tree)
        signal = self.catalogue[tree.path]
        if signal.ragged:
            raise self.error(
                f"`{tree.path}` has a list of values at each instant; use any_track({signal.group()}, ...)", tree
            )
        return self.signal(signal, tree)

    def named_condition(self, tree: Name) -> _Typed:
        """Another condition by its name. It may use other named conditions, but not itself."""
        source = self.named[tree.path]
        others = {name: text for name, text in self.named.items() if name != tree.path}
        inner = _ExpressionChecker(source, self.catalogue, self.memory_ns, self.table, others)
        inner.count = self.count
        typed = inner.check(parse(source), "")
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
            raise self.error(
                f"`{signal.path}` is text, which triggers cannot use; choose a number, a condition or an enum", tree
            )
        return {"bool": BOOL, "enum": ENUM}.get(signal.kind, NUMBER)

    def unit_of(self, signal: Signal, tree: Syntax) -> Unit:
        if signal.unit and signal.unit not in UNITS:
            raise self.error(
                f"`{signal.path}` has the unit `{signal.unit}` in the catalogue, which triggers do not support", tree
            )
        return UNITS[signal.unit] if signal.unit else PURE

    def operation(self, tree: Operation, group: str) -> _Typed:
        if tree.operator in ("==", "!="):
            enum = self.enum_comparison(tree, group)
            if enum is not None:
                return enum
        parts = [self.check(operand, group) for operand in tree.operands]
        nodes = [p.node for p in parts]
        if tree.operator in ("and", "or", "not"):
            for part, operand in zip(parts, tree.operands, strict=True):
                self.expect(BOOL, part, operand, f"`{tree.operator}` combines conditions")
            return _Typed(self.make(tree.operator, *nodes, kind=BOOL))
        for part, operand in zip(parts, tree.operands, strict=True):
            self.expect(NUMBER, part, operand, f"`{tree.operator}` needs numbers")
        if len(parts) == 1:
            number = nodes[0]
            negative = self.constant(-number.number) if number.op == "const" else self.make("neg", number)
            return _Typed(negative, parts[0].unit)
        left, right = parts
        if tree.operator in ("*", "/"):
            unit = left.unit.times(right.unit) if tree.operator == "*" else left.unit.per(right.unit)
            return _Typed(self.make(_ARITHMETIC[tree.operator], *nodes), unit)
        left, right = self.to_one_unit(left, right, tree)
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
        typed = self.check(other, group)
        self.expect(ENUM, typed, other, "only an enum is compared with a quoted word")
        if texts[0].value not in typed.values:
            words = ", ".join(f'"{v}"' for v in typed.values)
            raise self.error(f'"{texts[0].value}" is not a value of the enum; use one of {words}', texts[0])
        code = self.constant(float(typed.values.index(texts[0].value)), ENUM)
        equal = self.make("eq", typed.node, code, kind=BOOL)
        return _Typed(equal if tree.operator == "==" else self.make("not", equal, kind=BOOL))

    def expect(self, kind: str, typed: _Typed, tree: Syntax, why: str) -> None:
        """Raises ``ExpressionError`` unless a value is of a kind."""
        if typed.node.kind != kind:
            names = {BOOL: "a condition", NUMBER: "a number", ENUM: "an enum"}
            raise self.error(f"{why}: expected {names[kind]}, found {names[typed.node.kind]}", tree)

    def to_one_unit(self, left: _Typed, right: _Typed, tree: Operation | Call) -> tuple[_Typed, _Typed]:
        """Converts one of two values to the other's unit, preferably a constant. Zero needs no unit."""
        if left.unit == right.unit:
            return left, right
        if left.unit.powers != right.unit.powers:
            for zero, other in ((left, right), (right, left)):
                if zero.node.op == "const" and zero.node.number == 0 and zero.unit == PURE:
                    zeroed = _Typed(zero.node, other.unit)
                    return (zeroed, other) if zero is left else (other, zeroed)
            names = left.unit.name(), right.unit.name()
            second = tree.operands[1] if isinstance(tree, Operation) else tree.arguments[1]
            bare = isinstance(second, Number) and not second.unit
            hint = f"; give the number a unit, such as {left.unit.name()}" if bare else ""
            raise self.error(f"{names[0]} and {names[1]} cannot be combined{hint}", second)
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
            raise self.error(f"{what} must be a constant duration, such as `0.5 s`", tree)
        span_ns = seconds_to_ns(tree.value * UNITS[tree.unit].factor)
        if span_ns <= 0:
            raise self.error(f"{what} must be longer than 0 s", tree)
        if span_ns > self.memory_ns:
            kept = f"{ns_to_seconds(self.memory_ns):g} s"
            raise self.error(f"{what} is {ns_to_seconds(span_ns):g} s, more than the {kept} that are kept", tree)
        return span_ns

    def call(self, tree: Call, group: str) -> _Typed:
        function, arguments = tree.function, tree.arguments
        if function not in FUNCTIONS:
            near = get_close_matches(function, FUNCTIONS, 1, 0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(FUNCTIONS)}"
            raise self.error(f"unknown function `{function}`{hint}", tree)
        expected = 1 if function in ("abs", "exists") else 2
        if len(arguments) != expected:
            hint = "; the second is a duration, such as `1 s`" if expected == 2 and len(arguments) == 1 else ""
            raise self.error(f"`{function}` takes {expected} argument{'s' * (expected > 1)}{hint}", tree)
        if function in _TRACKS:
            return self.tracks(tree, group)
        if function == "last":
            return self.last(tree)
        first = self.check(arguments[0], group)
        if function == "exists":
            return _Typed(self.make("exists", first.node, kind=BOOL))
        if function in ("any", "all", "count", "debounce"):
            self.expect(BOOL, first, arguments[0], f"`{function}` needs a condition")
        elif function != "lag":
            self.expect(NUMBER, first, arguments[0], f"`{function}` needs a number")
        if function == "abs":
            return _Typed(self.make("abs", first.node), first.unit)
        if function in ("lower_of", "higher_of"):
            second = self.check(arguments[1], group)
            self.expect(NUMBER, second, arguments[1], f"`{function}` needs numbers")
            first, second = self.to_one_unit(first, second, tree)
            return _Typed(self.make(function, first.node, second.node), first.unit)
        span_ns = self.duration(arguments[1], "the lag" if function in ("lag", "delta") else "the window")
        return self.over_time(function, first, span_ns, tree)

    def over_time(self, function: str, first: _Typed, span_ns: int, tree: Call) -> _Typed:
        node = first.node
        if not node.sources:
            raise self.error(f"`{function}` needs an expression that reads a signal", tree)
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
            raise self.error(
                "`last` takes one signal with one value per instant, as in last(Vehicle.Speed, 5 s)", name
            )
        span_ns = self.duration(tree.arguments[1], "how long the value stays known")
        return self.signal(self.catalogue[name.path], name, span_ns, skip_nan=True)

    def tracks(self, tree: Call, group: str) -> _Typed:
        name, predicate = tree.arguments
        if group:
            raise self.error("any_track and count_tracks cannot be nested", tree)
        if not isinstance(name, Name) or not self.catalogue.group(name.path):
            groups = sorted({s.group() for s in self.catalogue.signals.values() if s.ragged})
            raise self.error(f"the first argument of `{tree.function}` is a track group: {', '.join(groups)}", name)
        identity = f"{name.path}.Id"
        if identity not in self.catalogue:
            raise self.error(
                f"the track group `{name.path}` has no Id signal in the catalogue, which {tree.function} needs", name
            )
        typed = self.check(predicate, name.path)
        self.expect(BOOL, typed, predicate, f"the second argument of `{tree.function}` is a condition on a track")
        if not typed.node.tracked:
            raise self.error(f"the condition reads no field of {name.path}; use at least one", predicate)
        span_ns = min(seconds_to_ns(self.catalogue[identity].max_age_s), self.memory_ns)
        kind = BOOL if tree.function == "any_track" else NUMBER
        node = self.table.make(tree.function, (typed.node,), kind, path=name.path, span_ns=span_ns)
        return _Typed(node)

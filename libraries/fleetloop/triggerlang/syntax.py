"""Parses the text of an expression into a syntax tree (Pratt parser). User input is never passed to ``eval``.

Every node has its position in the text. Signals, units and types are checked by ``type_checker``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleetloop.triggerlang.errors import ExpressionError
from fleetloop.triggerlang.units import UNITS

MAX_LENGTH = 4000
"""Most characters of an expression."""
MAX_DEPTH = 40
"""Deepest nesting; it bounds the recursion of the parser and the type checker."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal with the name of its unit, which is empty for a pure number."""

    value: float
    unit: str
    position: int


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted word, the value of an enum."""

    value: str
    position: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The literal ``true`` or ``false``."""

    value: bool
    position: int


@dataclass(frozen=True, slots=True)
class Name:
    """A signal path, a track group or, within a track's condition, one of its fields."""

    path: str
    position: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A prefix or infix operator."""

    operator: str
    operands: tuple[Syntax, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[Syntax, ...]
    position: int


Syntax = Number | Text | Truth | Name | Operation | Call


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    unit: str = ""


_UNIT = "|".join(re.escape(u) for u in sorted(UNITS, key=len, reverse=True))
_TOKEN = re.compile(
    rf"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?:[ \t]*(?P<unit>{_UNIT})(?![A-Za-z0-9_^]))?
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<text>"[^"\n]*"|'[^'\n]*')
    |(?P<operator><=|>=|==|!=|[-+*/<>(),=])""",
    re.VERBOSE,
)
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
# How strongly operators bind their operands: higher ones first, so a * b + c is (a * b) + c.
_BINDING = {"or": 1, "and": 2, **dict.fromkeys(_COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6}
_NOT_BINDING = 3
_MINUS_BINDING = 7


def parse(source: str) -> Syntax:
    """The syntax tree of an expression. Raises ``ExpressionError`` with the position of the first error."""
    if len(source) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(source)} characters, more than the {MAX_LENGTH} that are allowed", source, 0
        )
    parser = _Parser(source, _tokens(source))
    tree = parser.expression(0, 0)
    parser.expect("end")
    return tree


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise ExpressionError(f"unexpected character {source[position]!r}", source, position)
        kind = str(match.lastgroup)
        if match["number"] is not None:
            found.append(_Token("number", match["number"], position, match["unit"] or ""))
        elif kind != "space":
            text = match.group()
            word = text in ("and", "or", "not", "true", "false")
            found.append(_Token("operator" if word else kind, text, position))
        position = match.end()
    found.append(_Token("end", "", len(source)))
    return found


class _Parser:
    def __init__(self, source: str, tokens: list[_Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.at = 0
        """Position of the next token."""

    def error(self, message: str, token: _Token) -> ExpressionError:
        return ExpressionError(message, self.source, token.position)

    def next(self) -> _Token:
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def expect(self, text: str) -> None:
        token = self.next()
        if token.kind != text and token.text != text:
            shown = "the end of the expression" if token.kind == "end" else repr(token.text)
            expected = "an operator or the end" if text == "end" else repr(text)
            if token.text == "=":
                raise self.error("`=` is not a comparison; write `==`", token)
            hint = "; known units are " + ", ".join(UNITS) if token.kind == "name" and text == "end" else ""
            raise self.error(f"expected {expected}, found {shown}{hint}", token)

    def expression(self, binding: int, depth: int) -> Syntax:
        if depth > MAX_DEPTH:
            raise self.error(
                f"the expression is nested deeper than {MAX_DEPTH} levels; use named conditions", self.tokens[self.at]
            )
        left = self.prefix(depth)
        compared = False
        while True:
            token = self.tokens[self.at]
            strength = _BINDING.get(token.text, 0) if token.kind == "operator" else 0
            if strength <= binding:
                return left
            if token.text in _COMPARISONS:
                if compared:
                    raise self.error("comparisons cannot be chained; write `a < b and b < c`", token)
                compared = True
            self.next()
            right = self.expression(strength, depth + 1)
            left = Operation(token.text, (left, right), token.position)

    def prefix(self, depth: int) -> Syntax:
        token = self.next()
        if token.kind == "number":
            return Number(float(token.text), token.unit, token.position)
        if token.kind == "text":
            return Text(token.text[1:-1], token.position)
        if token.text in ("true", "false"):
            return Truth(token.text == "true", token.position)
        if token.text == "not":
            return Operation("not", (self.expression(_NOT_BINDING, depth + 1),), token.position)
        if token.text == "-":
            return Operation("-", (self.expression(_MINUS_BINDING, depth + 1),), token.position)
        if token.text == "(":
            inner = self.expression(0, depth + 1)
            self.expect(")")
            return inner
        if token.kind == "name":
            return self.call(token, depth) if self.tokens[self.at].text == "(" else Name(token.text, token.position)
        if token.text == "=":
            raise self.error("`=` is not a comparison; write `==`", token)
        shown = "the end of the expression" if token.kind == "end" else repr(token.text)
        raise self.error(f"expected a signal, a number or a function, found {shown}", token)

    def call(self, name: _Token, depth: int) -> Call:
        self.expect("(")
        arguments: list[Syntax] = []
        while self.tokens[self.at].text != ")":
            arguments.append(self.expression(0, depth + 1))
            if self.tokens[self.at].text != ",":
                break
            self.next()
        self.expect(")")
        return Call(name.text, tuple(arguments), name.position)

"""The triggers as Python over one frame at a time: what an engineer would write for a stream of rows.

The source is generated from the typed expressions, each subexpression once a frame, windows as deques with running
results, so that the peers' frameworks are measured with code that is as fast as rows in Python allow. A window is
over frames; a signal that is slower than the frames holds its value.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetloop.triggerlang.nodes import BOOL, Node
from fleetloop.triggerlang.program import Program

_INFIX = {"add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "eq": "==", "and": "and", "or": "or"}


def source_of(program: Program) -> str:
    """A module with ``new_state()`` and ``step(state, row) -> list[int]``, the triggers that turned true."""
    writer = _Writer()
    for number, compiled in enumerate(program.triggers):
        condition = writer.value(compiled.condition)
        writer.line(f"if {condition} and not before[{number}]: fired.append({number})")
        writer.line(f"before[{number}] = {condition}")
    state = ", ".join(["[False] * " + str(len(program.triggers)), *writer.state])
    return "\n".join(
        [
            "from collections import deque",
            f"def new_state(): return [{state}]",
            "def step(state, row):",
            "    t = row['t']",
            "    before = state[0]",
            "    fired = []",
            *("    " + line for line in writer.lines),
            "    return fired",
            "",
        ]
    )


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.state: list[str] = []
        self.names: dict[int, str] = {}

    def line(self, text: str) -> None:
        self.lines.append(text)

    def value(self, node: Node) -> str:
        if node.op == "const":
            return str(node.number > 1) if node.kind == BOOL else repr(node.number)
        known = self.names.get(id(node))
        if known is None:
            known = self.names[id(node)] = f"v{len(self.names)}"
            self.compute(node, known)
        return known

    def remembered(self, initial: str) -> str:
        self.state.append(initial)
        return f"state[{len(self.state)}]"

    def compute(self, node: Node, name: str) -> None:
        if node.op == "signal":
            self.line(f"{name} = row[{node.path!r}]")
        elif node.op == "any_track":
            self.line(f"{name} = any({self.tracked(node.args[0])} for x in row[{node.path!r}])")
        elif node.op == "count_tracks":
            self.line(f"{name} = sum(1 for x in row[{node.path!r}] if {self.tracked(node.args[0])})")
        elif node.op == "lag" or node.span_ns:
            self.window(node, name, self.value(node.args[0]), node.span_ns / 1e9)
        else:
            self.line(f"{name} = {_pointwise(node, [self.value(a) for a in node.args])}")

    def tracked(self, node: Node) -> str:
        if node.op == "field":
            return f"x[{node.name!r}]"
        if not node.tracked:
            return self.value(node)
        return "(" + _pointwise(node, [self.tracked(a) for a in node.args]) + ")"

    def window(self, node: Node, name: str, v: str, span_s: float) -> None:
        q = f"q{name}"
        self.line(f"{q} = {self.remembered('deque()')}")
        if node.op == "lag":
            self.line(f"{q}.append((t, {v}))")
            self.line(f"while len({q}) > 1 and {q}[1][0] <= t - {span_s}: {q}.popleft()")
            self.line(f"{name} = {q}[0][1]")
        elif node.op in ("min", "max"):
            worse = ">=" if node.op == "min" else "<="
            self.line(f"while {q} and {q}[-1][1] {worse} {v}: {q}.pop()")
            self.line(f"{q}.append((t, {v}))")
            self.line(f"while {q}[0][0] <= t - {span_s}: {q}.popleft()")
            self.line(f"{name} = {q}[0][1]")
        elif node.op == "first":
            self.line(f"{q}.append((t, {v}))")
            self.line(f"while {q}[0][0] <= t - {span_s}: {q}.popleft()")
            self.line(f"{name} = {q}[0][1]")
        else:
            self.sums(node, name, q, v, span_s)

    def sums(self, node: Node, name: str, q: str, v: str, span_s: float) -> None:
        sums = f"s{name}"
        self.line(f"{sums} = {self.remembered('[0.0, 0.0, 0.0, 0.0]')}")
        parts = (v, "t", f"t * {v}", "t * t") if node.op == "slope" else (v,)
        self.line(f"{q}.append((t, {v}))")
        for number, part in enumerate(parts):
            self.line(f"{sums}[{number}] += {part}")
        self.line(f"while {q}[0][0] <= t - {span_s}:")
        self.line(f"    a, b = {q}.popleft()")
        for number, part in enumerate(("b", "a", "a * b", "a * a")[: len(parts)]):
            self.line(f"    {sums}[{number}] -= {part}")
        result = {
            "mean": f"{sums}[0] / len({q})",
            "count": f"{sums}[0]",
            "any": f"{sums}[0] > 0",
            "all": f"{sums}[0] == len({q})",
            "slope": f"(len({q}) * {sums}[2] - {sums}[0] * {sums}[1]) / "
            f"((len({q}) * {sums}[3] - {sums}[1] * {sums}[1]) or 1.0)",
        }[node.op]
        self.line(f"{name} = {result}")


def _pointwise(node: Node, v: Sequence[str]) -> str:
    if node.op in _INFIX:
        return f"{v[0]} {_INFIX[node.op]} {v[1]}"
    return {
        "not": f"not {v[0]}",
        "neg": f"-{v[0]}",
        "abs": f"abs({v[0]})",
        "exists": f"{v[0]} is not None",
        "lower_of": f"({v[0]} if {v[0]} < {v[-1]} else {v[-1]})",
        "higher_of": f"({v[0]} if {v[0]} > {v[-1]} else {v[-1]})",
        "div": f"({v[0]} / {v[-1]} if {v[-1]} else 0.0)",
    }[node.op]

"""One error for everything that a trigger's author can get wrong, pointing at the place in the text."""

from __future__ import annotations


class ExpressionError(ValueError):
    """An expression that cannot be used; ``str()`` shows the line with a caret under the place."""

    def __init__(self, message: str, source: str, position: int) -> None:
        self.message = message
        self.source = source
        self.position = min(position, len(source))
        before = source[: self.position]
        self.line = before.count("\n") + 1
        self.column = self.position - (before.rfind("\n") + 1) + 1
        shown = source.split("\n")[self.line - 1]
        caret = "".join(c if c == "\t" else " " for c in shown[: self.column - 1]) + "^"
        super().__init__(f"{message} (line {self.line}, column {self.column})\n  {shown}\n  {caret}")


class TriggerFileError(ValueError):
    """A trigger file that cannot be used; names the field and the remedy."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field

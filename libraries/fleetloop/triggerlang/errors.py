"""The errors that a trigger's author can cause, with the position in the text or the field of the file."""

from __future__ import annotations


class ExpressionError(ValueError):
    """An invalid expression. ``str()`` shows the line with a caret under the position of the error."""

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
    """An invalid trigger file. The message names the field and what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field

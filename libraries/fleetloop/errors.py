"""Errors for the person at the terminal: one sentence that says what is wrong, and one that says what to do."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can fix. The command prints it without a traceback and exits 2."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"

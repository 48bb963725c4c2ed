"""Errors meant for the person at the terminal: one sentence that says what is wrong, one that says what to do."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right. The command prints it without a traceback and exits with 2."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"

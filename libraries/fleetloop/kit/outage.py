"""The error of a dependency that does not work, without the libraries that talk to one: cores may know it."""

from __future__ import annotations


class OutageError(Exception):
    """A dependency is broken: what was being processed is to be processed again later, unchanged."""

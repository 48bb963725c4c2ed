"""What the desk speaks of: tasks, leases, votes and how a task ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Who or what answers."""

    HUMAN = "human"
    HINDSIGHT = "hindsight"
    SENSOR = "sensor"
    MODEL = "model"


class Outcome(StrEnum):
    """How a task ended."""

    AGREED = "agreed"
    CANNOT_TELL = "cannot_tell"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer."""

    author: str
    source: Source
    answers: Mapping[str, str]
    """Choice by task of the schema; empty: could not tell."""
    confidence: float
    at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A labeller's claim on a task, until it expires."""

    lease_id: str
    author: str
    expires_at_utc_ns: int

    def is_live(self, now_utc_ns: int) -> bool:
        """True while nobody else may get this place at the task."""
        return now_utc_ns < self.expires_at_utc_ns


@dataclass(frozen=True, slots=True)
class Decision:
    """How the votes of a task stand when they suffice to end it."""

    outcome: Outcome
    answers: Mapping[str, str]
    source: Source
    confidence: float
    """Share of those asked who gave this answer, or the automatic source's own confidence."""

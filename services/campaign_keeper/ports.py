"""What the keeper needs of the outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from campaign_keeper.model import Problem, TriggerDefinition

Examine = Callable[[Iterable[TriggerDefinition]], Iterable[Problem]]
"""Finds everything that is wrong with a campaign's triggers, each with its field and the remedy."""


class Drops(Protocol):
    """Knows which firings triage dropped."""

    async def dropped(self) -> Mapping[str, Mapping[str, int]]:
        """Trigger -> reason -> firings. Empty while the router is unavailable."""
        ...

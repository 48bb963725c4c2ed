"""What the controller needs of the outside."""

from __future__ import annotations

from typing import Protocol

from rollout_controller.model import Evidence


class Witness(Protocol):
    """Knows what the vehicles reported."""

    async def evidence(self, rollout_id: str, candidate: str) -> Evidence | None:
        """Sums of a rollout's reports; None while they cannot be had."""
        ...

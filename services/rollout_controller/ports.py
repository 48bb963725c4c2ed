"""What the controller needs of other services."""

from __future__ import annotations

from typing import Protocol

from rollout_controller.model import Evidence


class PeerUnavailableError(Exception):
    """A service that the controller needs does not answer; the next turn of the worker asks again."""


class CosignatureRefusedError(Exception):
    """The orchestrator refuses to sign, because a model did not pass its examination there."""


class EvidenceSource(Protocol):
    """Knows what the vehicles reported."""

    async def evidence(self, rollout_id: str, candidate: str) -> Evidence | None:
        """Sums of a rollout's reports; None while they are unavailable."""
        ...


class Cosigner(Protocol):
    """The orchestrator's key, which signs only models that passed."""

    async def sign(self, signed: bytes) -> tuple[str, bytes]:
        """(key id, signature) over canonical bytes.

        Raises CosignatureRefusedError, and PeerUnavailableError while the orchestrator does not answer.
        """
        ...

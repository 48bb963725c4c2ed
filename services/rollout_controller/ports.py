"""What the controller needs of other services."""

from __future__ import annotations

from typing import Protocol

from fleetloop.kit.security.identity import IdentityKind


class PeerUnavailableError(Exception):
    """A service that the controller needs does not answer; the next turn of the worker asks again."""


class CosignatureRefusedError(Exception):
    """The orchestrator refuses to sign, because a model did not pass its examination there."""


class Admissions(Protocol):
    """Knows who is one of the fleet."""

    def revoked(self, kind: IdentityKind) -> frozenset[str]:
        """Names of a kind that were revoked. Raises UnavailableError when that cannot be known now."""
        ...


class Cosigner(Protocol):
    """The orchestrator's key, which signs only models that passed."""

    async def sign(self, signed: bytes) -> tuple[str, bytes]:
        """(key id, signature) over canonical bytes.

        Raises CosignatureRefusedError, and PeerUnavailableError while the orchestrator does not answer.
        """
        ...

"""Refusals: what a service says when it will not do what it was asked, in words that the caller can act on.

A core or a transaction raises one and knows nothing of gRPC. Only `fleetloop.kit.rpc` knows which status code belongs
to which kind; the text that the caller reads is the same on every transport.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class RefusalKind(StrEnum):
    """Why something is refused. The names are those of the gRPC status codes with the same meaning."""

    INVALID_ARGUMENT = "invalid_argument"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    FAILED_PRECONDITION = "failed_precondition"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    ABORTED = "aborted"
    DATA_LOSS = "data_loss"
    UNAVAILABLE = "unavailable"


class RefusedError(Exception):
    """A request is refused. Raise one of the subclasses below.

    Args:
        message: What is wrong.
        field: The field of the request that it is about; empty when it is about none.
        remedy: What the caller can do; empty when the message says it.
    """

    kind: ClassVar[RefusalKind]

    def __init__(self, message: str, field: str = "", remedy: str = "") -> None:
        prefix, suffix = f"{field}: " if field else "", f"; {remedy}" if remedy else ""
        super().__init__(f"{prefix}{message}{suffix}")
        self.message = message
        self.field = field
        self.remedy = remedy


class InvalidArgumentError(RefusedError):
    """The request is wrong, whatever state the service is in."""

    kind = RefusalKind.INVALID_ARGUMENT


class NotFoundError(RefusedError):
    """What the request names does not exist."""

    kind = RefusalKind.NOT_FOUND


class AlreadyExistsError(RefusedError):
    """What the request would create exists."""

    kind = RefusalKind.ALREADY_EXISTS


class FailedPreconditionError(RefusedError):
    """The request is well formed, and the state that it meets does not allow it. A retry changes nothing."""

    kind = RefusalKind.FAILED_PRECONDITION


class PermissionDeniedError(RefusedError):
    """The caller may not do this."""

    kind = RefusalKind.PERMISSION_DENIED


class ResourceExhaustedError(RefusedError):
    """A limit is reached; a later retry may succeed."""

    kind = RefusalKind.RESOURCE_EXHAUSTED


class AbortedError(RefusedError):
    """The request met a state that has moved on; the caller has to read the state and begin again from it."""

    kind = RefusalKind.ABORTED


class DataLossError(RefusedError):
    """The data that came is not the data that was announced."""

    kind = RefusalKind.DATA_LOSS


class UnavailableError(RefusedError):
    """The service cannot answer now; the same request may be retried."""

    kind = RefusalKind.UNAVAILABLE

"""The values that the gateway decides on, without protobuf."""

from __future__ import annotations

from dataclasses import dataclass

NOT_YOURS = "not_yours"
"""The code of a BatchError for a batch that belongs to another vehicle or fleet than its sender."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The vehicle that a certificate, or the key of a message, identifies."""

    fleet_id: str
    vehicle_id: str


@dataclass(frozen=True, slots=True)
class Clip:
    """The header of an upload."""

    sha256: str
    size_bytes: int
    fleet_id: str
    vehicle_id: str
    boot_id: bytes
    start_utc_ns: int
    end_utc_ns: int
    cameras: tuple[str, ...] = ()
    command_id: str = ""
    firing_id: str = ""
    model_digest: str = ""


@dataclass(frozen=True, slots=True)
class PendingCommand:
    """A command that has not expired."""

    command_id: str
    vehicle_id: str
    attempt: int
    """Counts the repeats of one command; each repeat is delivered again."""
    expires_at_utc_ns: int
    payload: bytes
    """The serialised VehicleCommand."""


class FieldError(ValueError):
    """A header or a report has a wrong field. The message says how to correct it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

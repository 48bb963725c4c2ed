"""What the gateway decides on, without protobuf."""

from __future__ import annotations

from dataclasses import dataclass

NOT_YOURS = "not_yours"
"""The code of a BatchError for a batch that speaks for somebody else."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whom a certificate, or a message key, speaks for."""

    fleet_id: str
    vehicle_id: str


@dataclass(frozen=True, slots=True)
class Clip:
    """What an upload's header says."""

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
class StandingCommand:
    """A command that has not expired."""

    command_id: str
    vehicle_id: str
    attempt: int
    """Repeats of one command count up; each has to reach the vehicle again."""
    expires_at_utc_ns: int
    payload: bytes
    """The VehicleCommand as it was read."""


class FieldError(ValueError):
    """A header or report that is wrong: which field, and what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

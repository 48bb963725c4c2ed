"""Settings of telemetry_archiver."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fleetloop.kit.process.clock import seconds_to_ms
from fleetloop.kit.process.settings import ServiceSettings


class TelemetryArchiverSettings(ServiceSettings):
    """The settings of every service and those that only the archiver has."""

    cut_after_s: float = Field(
        30.0, gt=0, description="Seconds from the first message of a file until the file is closed."
    )
    cut_bytes: int = Field(
        64 * 1024 * 1024, ge=1, description="Bytes of messages in a file after which it is closed."
    )
    lateness_s: float = Field(
        7 * 86_400.0, gt=0, description="Seconds after a batch in which a repeat of it is recognised and left out."
    )

    @property
    def lateness_ms(self) -> int:
        return seconds_to_ms(self.lateness_s)

    @model_validator(mode="after")
    def _cut_before_stuck(self) -> Self:
        if self.cut_after_s >= self.stuck_after_s:
            raise ValueError(
                "cut_after_s must be below stuck_after_s, because offsets are committed when a file is closed"
            )
        return self

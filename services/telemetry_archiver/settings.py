"""Settings of telemetry_archiver."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fleetloop.kit.process.clock import seconds_to_ms
from fleetloop.kit.process.settings import ServiceSettings


class TelemetryArchiverSettings(ServiceSettings):
    """What the archiver is told beside what every service is."""

    cut_after_s: float = Field(30.0, gt=0, description="A file is closed so long after its first message was read.")
    cut_bytes: int = Field(64 * 1024 * 1024, ge=1, description="A file is closed after so many bytes of messages.")
    lateness_s: float = Field(
        7 * 86_400.0, gt=0, description="A repeat that comes no later than this after the first is dropped."
    )

    @property
    def lateness_ms(self) -> int:
        return seconds_to_ms(self.lateness_s)

    @model_validator(mode="after")
    def _cut_before_stuck(self) -> Self:
        if self.cut_after_s >= self.stuck_after_s:
            raise ValueError("cut_after_s must be below stuck_after_s: offsets are committed when a file is closed")
        return self

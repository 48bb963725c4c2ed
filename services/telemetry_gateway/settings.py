"""Settings of telemetry_gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from fleetloop.kit.process.settings import ServiceSettings


class TelemetryGatewaySettings(ServiceSettings):
    """The settings of every service and those that only the gateway has."""

    admission_list: Path = Field(
        description="File of admitted vehicles, people and services, which `fleetloop vehicles` writes."
    )
    stream_window: int = Field(
        32, ge=1, le=1024, description="Unacknowledged batches of one stream before the gateway stops reading it."
    )
    max_batch_bytes: int = Field(
        520_192,
        ge=1024,
        le=520_192,
        description="Bytes of the largest batch that is accepted; the maximum is 512 KiB less 4 KiB for headers.",
    )
    max_lead_s: float = Field(
        120.0,
        ge=0,
        description="Seconds by which a batch or clip may be ahead of the gateway's clock to be deferred. Beyond it, "
        "its time is corrected.",
    )
    max_clip_bytes: int = Field(
        256 * 1024 * 1024, ge=1024, description="Bytes of the largest clip that a vehicle may upload."
    )
    max_open_uploads: int = Field(
        8, ge=1, description="Unfinished uploads that one vehicle may have, whether or not it sends bytes of them."
    )
    max_unfinished_bytes: int = Field(
        512 * 1024 * 1024, ge=1024, description="Bytes of the unfinished uploads of one vehicle."
    )
    max_streams: int = Field(
        4,
        ge=1,
        description="Open streams of one vehicle, of telemetry and of commands each; a newer one ends the oldest.",
    )
    max_requests: int = Field(32, ge=1, description="Reports and questions of one vehicle in progress.")
    max_commands: int = Field(
        1000, ge=1, description="Unexpired commands of one vehicle that are kept; beyond it the oldest are dropped."
    )
    first_message_s: float = Field(
        30.0, gt=0, description="Seconds within which a stream or an upload has to send its first message."
    )
    idle_s: float = Field(
        600.0, gt=0, description="Seconds without a message after which a stream of telemetry or an upload is ended."
    )
    upload_expiry_s: float = Field(
        86_400.0, gt=0, description="Seconds without a new byte before an unfinished upload is deleted."
    )
    command_horizon_s: float = Field(
        172_800.0,
        gt=0,
        description="Seconds of commands that are read at start; at least the longest lifetime of a command.",
    )
    batch_spans_per_s: int = Field(
        50, ge=0, description="Batches per second that get a span; every batch gets a trace id."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_unfinished_bytes < self.max_clip_bytes:
            raise ValueError("max_unfinished_bytes: must be at least max_clip_bytes, or no large clip could arrive")
        return self

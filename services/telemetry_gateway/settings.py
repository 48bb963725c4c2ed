"""Settings of telemetry_gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class TelemetryGatewaySettings(ServiceSettings):
    """What the gateway is told beside what every service is."""

    admission_list: Path = Field(description="File of admitted vehicles, as `fleetloop vehicles` writes it.")
    stream_window: int = Field(
        32, ge=1, le=1024, description="Unacknowledged batches of a stream before reading stops."
    )
    max_batch_bytes: int = Field(
        520_192, ge=1024, le=520_192, description="Largest batch; 512 KiB less 4 KiB for a message's headers."
    )
    max_clip_bytes: int = Field(256 * 1024 * 1024, ge=1024, description="Largest clip that may be uploaded.")
    max_open_uploads: int = Field(8, ge=1, description="Unfinished uploads that one vehicle may have.")
    upload_expiry_s: float = Field(86_400.0, gt=0, description="An upload that rests for so long is thrown away.")
    command_horizon_s: float = Field(172_800.0, gt=0, description="Longest life of a command; read back so far.")
    admission_check_s: float = Field(5.0, gt=0, description="How often a silent command stream's vehicle is checked.")
    batch_spans_per_s: int = Field(50, ge=0, description="Batches a second that get a span; all get a trace id.")

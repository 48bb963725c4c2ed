"""The settings of vehicle_agent. Each is a command-line option and an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class VehicleAgentSettings(BaseSettings):
    """The settings of one process. Environment variables have the prefix FLEETLOOP_, options are in kebab case."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETLOOP_",
        frozen=True,
        extra="ignore",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    world: Literal["town", "drive"] = Field("town", description="Simulated town, or recorded drive.")
    fleet_id: str = Field("demo", min_length=1, description="Fleet of the vehicles.")
    telemetry_gateway_address: str = Field(description="host:port of telemetry_gateway.")
    rollout_controller_address: str = Field("", description="host:port of rollout_controller; empty for no models.")
    identities: Path = Field(
        description="Folder with <vehicle>/{cert,key,ca}.pem, as `fleetloop vehicles enrol` writes."
    )
    trust: Path | None = Field(None, description="Folder with director/1.root.json and models/1.root.json.")
    state_dir: Path = Field(Path(".fleetloop/vehicles"), description="The vehicles' disk: spools, clips, models.")
    config_dir: Path = Field(Path("config"), description="Folder with signals.yaml and tasks.yaml.")

    vehicles: int = Field(1, ge=1, le=1000, description="Number of vehicles in this process.")
    first: int = Field(0, ge=0, description="Number of the first vehicle.")
    prefix: str = Field("vehicle-", description="Vehicles are named <prefix><three digits>.")

    drive: Path | None = Field(None, description="Drive file that the vehicle replays with --world drive.")
    seed: int = Field(0, description="Seed of the routes, without --control.")
    town_seed: int = Field(0, description="Seed of the town.")
    duration_s: float = Field(0.0, ge=0, description="Simulated seconds to drive without --control; 0 for no end.")
    start_utc_ns: int = Field(
        0, ge=0, description="UTC of the first drive in ns; 0 for a day ago, or for the time of the recording."
    )
    linger_s: float = Field(0.0, ge=0, description="Seconds to keep listening for commands at the end.")
    drain_s: float = Field(60.0, ge=0, description="Seconds to wait at the end for acknowledgements.")

    rate: float = Field(1.0, ge=0, description="Simulated seconds per second; 0 for as fast as possible.")
    max_unacknowledged: int = Field(
        24, ge=1, description="Unacknowledged batches per vehicle before the world waits."
    )
    frames_per_batch: int = Field(100, ge=1, le=4096, description="Frames per batch.")
    ring_s: float = Field(240.0, ge=60, description="Seconds that a vehicle keeps in memory for clips.")
    spool_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, description="Bytes of unacknowledged batches on disk, per vehicle."
    )
    clips_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="Bytes of clips on disk before they are stored, per vehicle."
    )
    update_poll_s: float = Field(30.0, gt=0, description="Seconds between checks for another model.")
    chunk_pause_s: float = Field(0.0, ge=0, description="Seconds between chunks of a clip, to slow the uplink down.")

    control: Path | None = Field(None, description="Folder of phase.json and progress-<first>.json.")
    truth_file: Path | None = Field(None, description="File for the ground truth (only with --world town).")
    log_format: str = Field("json", pattern="^(json|console)$", description="json or console.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.world == "drive" and (self.drive is None or self.vehicles != 1):
            raise ValueError("--world drive needs --drive FILE and exactly one vehicle")
        if self.rollout_controller_address and self.trust is None:
            raise ValueError("--rollout-controller-address needs --trust, the folder with the roots of trust")
        return self

    def names(self) -> list[str]:
        """Return the names of this process's vehicles."""
        return [f"{self.prefix}{number:03d}" for number in range(self.first, self.first + self.vehicles)]

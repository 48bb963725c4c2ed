"""Settings of vehicle_agent: every one a command-line option and an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class VehicleAgentSettings(BaseSettings):
    """One process of vehicles. Environment variables have the prefix FLEETLOOP_, options are in kebab case."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETLOOP_",
        frozen=True,
        extra="ignore",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    world: Literal["town", "drive"] = Field("town", description="A simulated town, or a recorded drive.")
    fleet_id: str = Field("demo", min_length=1, description="Fleet that the vehicles belong to.")
    telemetry_gateway_address: str = Field(description="host:port of telemetry_gateway.")
    rollout_controller_address: str = Field("", description="host:port of rollout_controller; empty: no models.")
    identities: Path = Field(
        description="Folder with <vehicle>/{cert,key,ca}.pem, as `fleetloop vehicles enrol` writes."
    )
    trust: Path | None = Field(None, description="Folder with director/1.root.json and models/1.root.json.")
    state_dir: Path = Field(Path(".fleetloop/vehicles"), description="The vehicles' disk: spools, clips, models.")
    config_dir: Path = Field(Path("config"), description="Folder with signals.yaml and tasks.yaml.")

    vehicles: int = Field(1, ge=1, le=1000, description="Vehicles of this process.")
    first: int = Field(0, ge=0, description="Number of its first vehicle.")
    prefix: str = Field("vehicle-", description="Vehicles are named <prefix><three digits>.")

    drive: Path | None = Field(None, description="Drive file to replay (--world drive); it drives the first vehicle.")
    seed: int = Field(0, description="Seed of the routes, without --control.")
    town_seed: int = Field(0, description="Seed of the town itself.")
    duration_s: float = Field(0.0, ge=0, description="Simulated seconds to drive without --control; 0: no end.")
    start_utc_ns: int = Field(0, ge=0, description="UTC of the first drive; 0: a day ago, or as it was recorded.")
    linger_s: float = Field(0.0, ge=0, description="Wall seconds to go on listening for commands at the end.")
    drain_s: float = Field(60.0, ge=0, description="Wall seconds to wait at the end for what is not acknowledged.")

    rate: float = Field(1.0, ge=0, description="Simulated seconds a second; 0: as fast as it goes.")
    max_unacknowledged: int = Field(24, ge=1, description="Batches of a vehicle on its disk before the world waits.")
    frames_per_batch: int = Field(100, ge=1, le=4096, description="Frames in a batch.")
    ring_s: float = Field(240.0, ge=60, description="Seconds that a vehicle keeps in memory for clips.")
    spool_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, description="Disk for unacknowledged batches, each.")
    clips_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="Disk for clips not stored, each vehicle."
    )
    update_poll_s: float = Field(30.0, gt=0, description="How often to look for a model without being told.")
    chunk_pause_s: float = Field(0.0, ge=0, description="Pause between chunks of a clip: a slow uplink.")

    control: Path | None = Field(None, description="Folder of phase.json and progress-<first>.json.")
    truth_file: Path | None = Field(None, description="Where to note what was really there (town only).")
    log_format: str = Field("json", pattern="^(json|console)$", description="json or console.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.world == "drive" and (self.drive is None or self.vehicles != 1):
            raise ValueError("--world drive wants --drive FILE, and one vehicle a process")
        if self.rollout_controller_address and self.trust is None:
            raise ValueError("--rollout-controller-address wants --trust: the roots that the vehicle is born with")
        return self

    def names(self) -> list[str]:
        """The vehicles of this process."""
        return [f"{self.prefix}{number:03d}" for number in range(self.first, self.first + self.vehicles)]

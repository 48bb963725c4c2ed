"""Settings of trigger_detector."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings
from trigger_detector.model import Limits


class TriggerDetectorSettings(ServiceSettings):
    """The detector's settings, in addition to those of every service."""

    detector_horizon_s: float = Field(
        240.0,
        ge=4,
        description="Seconds of log to replay on assignment, without firing; a quarter of it is remembered.",
    )
    detector_lateness_s: float = Field(
        60.0,
        ge=0,
        description="Skip batches that begin more than this many seconds before their vehicle's newest instant.",
    )
    detector_poll_records: int = Field(500, ge=1, description="Maximum number of batches to evaluate in one pass.")
    campaign_keeper_address: str = Field(
        "", description="host:port of campaign_keeper, to report what is in force; empty: do not report."
    )

    def limits(self) -> Limits:
        """The settings that the core needs."""
        return Limits(self.detector_horizon_s, self.detector_lateness_s)

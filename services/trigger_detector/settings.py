"""Settings of trigger_detector."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings
from trigger_detector.model import Limits


class TriggerDetectorSettings(ServiceSettings):
    """What the detector is told beside what every service is."""

    detector_horizon_s: float = Field(
        240.0, ge=4, description="Log that is replayed silently on assignment; a quarter of it is remembered."
    )
    detector_lateness_s: float = Field(
        60.0,
        ge=0,
        description="Batches that begin this long before their vehicle's newest instant are not evaluated.",
    )
    detector_poll_records: int = Field(500, ge=1, description="Most batches that are evaluated in one pass.")
    campaign_keeper_address: str = Field(
        "", description="host:port of campaign_keeper, which is told what is in force; empty: nobody is."
    )

    def limits(self) -> Limits:
        """The core's part of them."""
        return Limits(self.detector_horizon_s, self.detector_lateness_s)

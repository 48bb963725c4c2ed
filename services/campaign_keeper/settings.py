"""Settings of campaign_keeper."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class CampaignKeeperSettings(ServiceSettings):
    """What the keeper is told beside what every service is."""

    label_router_address: str = Field("", description="host:port of label_router, asked for what triage dropped.")
    trigger_memory_s: float = Field(
        60.0,
        gt=0,
        description="Longest window of a trigger: a quarter of the detector's FLEETLOOP_DETECTOR_HORIZON_S.",
    )
    keep_firings_s: float = Field(
        14 * 86_400.0,
        gt=0,
        description="A firing is remembered for so long, to count its clip; clips expire after a day.",
    )

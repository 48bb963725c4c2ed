"""Settings of campaign_keeper."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class CampaignKeeperSettings(ServiceSettings):
    """Settings of the keeper, in addition to those of every service."""

    label_router_address: str = Field("", description="Address (host:port) of label_router, which knows drops.")
    trigger_memory_s: float = Field(
        60.0,
        gt=0,
        description="Longest window of a trigger, in seconds: a quarter of FLEETLOOP_DETECTOR_HORIZON_S.",
    )
    keep_firings_s: float = Field(
        14 * 86_400.0,
        gt=0,
        description="Seconds for which a firing is kept, to count its clip; clips expire after a day.",
    )

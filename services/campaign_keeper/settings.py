"""Settings of campaign_keeper."""

from __future__ import annotations

from pydantic import Field

from fleetkit.settings import ServiceSettings


class CampaignKeeperSettings(ServiceSettings):
    """What the keeper is told beside what every service is."""

    label_router_address: str = Field("", description="host:port of label_router, asked for what triage dropped.")
    horizon_s: float = Field(
        60.0, gt=0, description="Longest window that a trigger may look back over; the detector's horizon."
    )

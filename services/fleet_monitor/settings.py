"""Settings of fleet_monitor."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class FleetMonitorSettings(ServiceSettings):
    """The settings of every service and those that only the monitor has."""

    window_s: float = Field(
        600.0, gt=0, description="Width in seconds of the windows of event time in which reports are added up."
    )
    fine_s: float = Field(
        86_400.0,
        gt=0,
        description="Age in seconds, by a vehicle's clock, at which windows are merged into days.",
    )
    keep_s: float = Field(
        30 * 86_400.0, gt=0, description="Age in seconds, by the vehicle's clock, after which windows are pruned."
    )

"""Settings of fleet_monitor."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class FleetMonitorSettings(ServiceSettings):
    """What the monitor is told beside what every service is."""

    window_s: float = Field(600.0, gt=0, description="Width of the windows that reports are summed in, event time.")
    fine_s: float = Field(
        86_400.0, gt=0, description="Windows older than this, by a vehicle's time, are added up by days."
    )
    keep_s: float = Field(
        30 * 86_400.0, gt=0, description="Windows older than this, by a vehicle's time, are let go."
    )

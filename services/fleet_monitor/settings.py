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
        description="Seconds after its newest report arrived at which a window is merged into its day.",
    )
    keep_s: float = Field(
        30 * 86_400.0, gt=0, description="Seconds after its newest report arrived at which a window is pruned."
    )

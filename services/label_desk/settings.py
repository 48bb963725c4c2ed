"""Settings of label_desk."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class LabelDeskSettings(ServiceSettings):
    """What the desk is told beside what every service is."""

    undo_window_s: float = Field(
        5.0, ge=0, description="A person's deciding answer can be taken back for so long before it counts."
    )
    longest_lease_s: float = Field(600.0, gt=0, description="Longest lease that a labeller can ask for.")
    keep_ended_s: float = Field(
        90 * 86_400.0,
        gt=31 * 86_400.0,
        description="A task that ended is let go after so long, with its votes; longer than Kafka keeps tasks.",
    )
    automatic_bound: float = Field(
        0.9, gt=0, le=1, description="Confidence from which an automatic source decides without people."
    )

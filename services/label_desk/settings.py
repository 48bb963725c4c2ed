"""Settings of label_desk."""

from __future__ import annotations

from pydantic import Field

from fleetloop.kit.process.settings import ServiceSettings


class LabelDeskSettings(ServiceSettings):
    """Settings of the desk, in addition to those of every service."""

    undo_window_s: float = Field(
        5.0, ge=0, description="Seconds in which a person's deciding answer can be undone before it ends the task."
    )
    longest_lease_s: float = Field(600.0, gt=0, description="Longest lease in seconds that a labeller can ask for.")
    most_leases: int = Field(
        10, ge=1, description="Open tasks that one labeller may lease at a time; further ones are refused."
    )
    clip_unpacked_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="Bytes of the largest clip that is read, unpacked."
    )
    clip_cache_bytes: int = Field(
        64 * 1024 * 1024, ge=0, description="Bytes of recently shown clips that are kept in memory."
    )
    keep_ended_s: float = Field(
        90 * 86_400.0,
        gt=31 * 86_400.0,
        description="Seconds after which an ended task and its votes are pruned; longer than Kafka keeps tasks.",
    )
    audit_share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Share of automatic answers that people check, deciding those tasks.",
    )
    first_checks: int = Field(
        1,
        ge=0,
        description="Answers about a vehicle that people check before further automatic ones decide without them.",
    )
    least_agreement: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Share of checked answers with which people must agree, or their source or vehicle gets no "
        "automatic labels.",
    )
    automatic_bound: float = Field(
        0.9, gt=0, le=1, description="Confidence from 0 to 1 at which an automatic source decides without people."
    )

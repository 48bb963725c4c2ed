"""What the keeper speaks of: campaign states, and what a trigger version earned."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Life of a campaign."""

    DRAFT = "draft"
    WAITING = "waiting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    FINISHED = "finished"


class Count(StrEnum):
    """Counters of the ledger, in the order of the way through the loop."""

    FIRED = "fired"
    CLIPS = "clips"
    CLIP_BYTES = "clip_bytes"
    TASKS = "tasks"
    LABELLED = "labelled"
    KEPT = "kept"

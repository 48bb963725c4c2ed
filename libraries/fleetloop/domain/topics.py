"""Names and sizes of the topics. protos/topics.yaml is the catalogue; a contract test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

INGEST: Final = "fleet.ingest.v1"
TELEMETRY: Final = "fleet.telemetry.v1"
HEALTH: Final = "fleet.health.v1"
CLIP: Final = "fleet.clip.v1"
CAMPAIGN: Final = "fleet.campaign.v1"
TRIGGER: Final = "fleet.trigger.v1"
COMMAND: Final = "fleet.command.v1"
LABEL_TASK: Final = "fleet.labeltask.v1"
LABEL: Final = "fleet.label.v1"
DATASET: Final = "fleet.dataset.v1"
TRAINING: Final = "fleet.training.v1"
MODEL: Final = "fleet.model.v1"
DEAD_LETTER: Final = "fleet.deadletter.v1"

MAX_BYTES: Final[Mapping[str, int]] = {
    INGEST: 524_288,
    TELEMETRY: 524_288,
    HEALTH: 65_536,
    CLIP: 65_536,
    CAMPAIGN: 1_048_576,
    TRIGGER: 65_536,
    COMMAND: 65_536,
    LABEL_TASK: 65_536,
    LABEL: 65_536,
    DATASET: 1_048_576,
    TRAINING: 1_048_576,
    MODEL: 262_144,
    DEAD_LETTER: 65_536,
}
"""Bytes of the largest message of each topic."""
EVENT_OVERHEAD_BYTES: Final = 4096
"""Room of a message for its key and its headers, which Kafka counts too."""

"""Names of the topics. protos/topics.yaml is the catalogue; a contract test compares the two."""

from __future__ import annotations

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

"""Models: what the stage of a rollout is called."""

from __future__ import annotations

from fleetloop.protos.rollout.v1 import rollout_pb2


def stage_text(change: rollout_pb2.ModelChanged) -> str:
    """Return the stage as people read it, for example `canary 25 %`."""
    stage = rollout_pb2.ModelStage.Name(change.stage).removeprefix("MODEL_STAGE_").lower().replace("_", " ")
    return f"{stage} {change.canary_percent} %" if change.stage == rollout_pb2.MODEL_STAGE_CANARY else stage

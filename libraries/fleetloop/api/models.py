"""Models and their rollouts: what stages and states are called, and which rollout a text names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc

from fleetloop.api.channel import TIMEOUT_S
from fleetloop.errors import UserError
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc


def stage_text(change: rollout_pb2.ModelChanged) -> str:
    """Return the stage as people read it, for example `canary 25 %`."""
    stage = rollout_pb2.ModelStage.Name(change.stage).removeprefix("MODEL_STAGE_").lower().replace("_", " ")
    return f"{stage} {change.canary_percent} %" if change.stage == rollout_pb2.MODEL_STAGE_CANARY else stage


def rollout_state(rollout: rollout_pb2.Rollout) -> str:
    """Return the state of a rollout as people read it, for example `canary 25 %, paused`."""
    if rollout.state != rollout_pb2.ROLLOUT_STATE_RUNNING:
        ended = rollout_pb2.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_").lower().replace("_", " ")
        return "released" if rollout.state == rollout_pb2.ROLLOUT_STATE_COMPLETED else ended
    canary = rollout.stage == rollout_pb2.MODEL_STAGE_CANARY
    return (f"canary {rollout.canary_percent} %" if canary else "in shadow") + (
        ", paused" if rollout.paused_by else ""
    )


def model_names(channel: grpc.Channel) -> Mapping[str, str]:
    """Return the names of the newest thousand models by digest."""
    stub = rollout_pb2_grpc.ModelServiceStub(channel)
    models = stub.ListModels(rollout_pb2.ListModelsRequest(page_size=1000), timeout=TIMEOUT_S).models
    return {each.model_digest: each.model_version for each in models}


def rollout_named(
    text: str, rollouts: Sequence[rollout_pb2.Rollout], names: Mapping[str, str]
) -> rollout_pb2.Rollout:
    """Return the rollout with this id, the start of it, or the name of its model; `names` are models by digest.

    Raises:
        UserError: None is named like that, or several.
    """
    found = [each for each in rollouts if text in (each.rollout_id, names.get(each.model_digest))]
    found = found or [each for each in rollouts if text and each.rollout_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} rollouts begin with {text!r}." if found else f"There is no rollout {text!r}."
    raise UserError(problem, "List all rollouts with `fleetloop rollouts list`.")

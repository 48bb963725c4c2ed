"""Examines triggers as the detector will read them: the same language, the same catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from campaign_keeper.ports import Examine
from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.tasks import TaskSchema
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.triggerlang.definition import from_definition
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import check_trigger


def examiner(catalogue: SignalCatalogue, schema: TaskSchema, memory_s: float) -> Examine:
    """An examination against `catalogue` and `schema`, with windows of at most `memory_s` seconds."""
    tasks, cameras = [task.name for task in schema.tasks], [camera.name for camera in schema.cameras]

    def examine(campaign: campaign_pb2.Campaign) -> Iterator[campaign_pb2.TriggerProblem]:
        seen: set[str] = set()
        for definition in campaign.triggers:
            if definition.name in seen:
                yield _problem(definition.name, "name", "two triggers of the campaign have this name; rename one")
            seen.add(definition.name)
            try:
                check_trigger(from_definition(definition), catalogue, memory_s)
            except TriggerFileError as error:
                yield _problem(definition.name, error.field, str(error))
            if definition.task and definition.task not in tasks:
                yield _problem(definition.name, "task", f"task: {definition.task!r} is none of {', '.join(tasks)}")
            for camera in definition.cameras:
                if camera not in cameras:
                    yield _problem(definition.name, "cameras", f"cameras: {camera!r} is none of {', '.join(cameras)}")

    return examine


def _problem(trigger: str, field: str, message: str) -> campaign_pb2.TriggerProblem:
    return campaign_pb2.TriggerProblem(trigger=trigger, field=field, message=message)

"""Examines triggers as the detector will read them: the same language, the same catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from campaign_keeper.codec import trigger_in_language
from campaign_keeper.model import Problem, TriggerDefinition
from campaign_keeper.ports import Examine
from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.tasks import TaskSchema
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import check_trigger


def examiner(catalogue: SignalCatalogue, schema: TaskSchema, memory_s: float) -> Examine:
    """An examination against `catalogue` and `schema`, with windows of at most `memory_s` seconds."""
    tasks, cameras = [task.name for task in schema.tasks], [camera.name for camera in schema.cameras]

    def examine(triggers: Iterable[TriggerDefinition]) -> Iterator[Problem]:
        seen: set[str] = set()
        for trigger in triggers:
            if trigger.name in seen:
                yield Problem(trigger.name, "name", "two triggers of the campaign have this name; rename one")
            seen.add(trigger.name)
            try:
                check_trigger(trigger_in_language(trigger), catalogue, memory_s)
            except TriggerFileError as error:
                yield Problem(trigger.name, error.field, str(error))
            if trigger.task and trigger.task not in tasks:
                yield Problem(trigger.name, "task", f"task: {trigger.task!r} is none of {', '.join(tasks)}")
            for camera in trigger.cameras:
                if camera not in cameras:
                    yield Problem(trigger.name, "cameras", f"cameras: {camera!r} is none of {', '.join(cameras)}")

    return examine

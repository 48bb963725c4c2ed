"""Pictures of a task: the clip's frames around the moment, as they were recorded."""

from __future__ import annotations

import asyncio
from functools import lru_cache

from fleetloop.domain.clips import Drive, read_drive
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.label.v1 import label_pb2

_MOST_INSTANTS = 40


async def frames_around(
    objects: Objects, created: label_pb2.LabelTaskCreated, instants: int
) -> list[label_pb2.TaskFrame]:
    """Up to `instants` instants around the task's moment (0: all, at most 40), by time and then by camera.

    Raises ObjectMissingError when the clip is gone and ClipError when it is damaged.
    """
    return await asyncio.to_thread(_frames, objects, created, min(instants or _MOST_INSTANTS, _MOST_INSTANTS))


def _frames(objects: Objects, created: label_pb2.LabelTaskCreated, instants: int) -> list[label_pb2.TaskFrame]:
    drive = _clip(objects, created.clip_address)
    if not drive.cameras:
        return []
    times = [image.time_ns for image in drive.images(drive.cameras[0])]
    moment = moment_index(times, created.moment_monotonic_ns)
    first = min(max(0, moment - instants // 2), max(0, len(times) - instants))
    frames = []
    for index in range(first, min(len(times), first + instants)):
        for camera in drive.cameras:
            images = drive.images(camera)
            if index >= len(images):
                continue
            frames.append(
                label_pb2.TaskFrame(
                    camera=camera,
                    at_utc_ns=drive.info.utc_ns(images[index].time_ns),
                    is_moment=index == moment,
                    image=images[index].png,
                    media_type="image/png",
                )
            )
    return frames


def moment_index(times_ns: list[int], moment_ns: int) -> int:
    """Index of the instant nearest to a moment; 0 for an empty list."""
    return min(range(len(times_ns)), key=lambda index: abs(times_ns[index] - moment_ns), default=0)


@lru_cache(maxsize=16)
def _clip(objects: Objects, address: str) -> Drive:
    return read_drive(objects.get(address))

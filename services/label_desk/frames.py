"""Pictures of a task: the clip's frames around the moment, as they were recorded."""

from __future__ import annotations

import asyncio

from fleetloop.domain.clips.stored import StoredClips
from label_desk.model import Frame, Task

_MOST_INSTANTS = 40


async def frames_around(clips: StoredClips, task: Task, instants: int) -> list[Frame]:
    """Frames of up to `instants` instants around the task's moment, by time and then by camera; 0 means 40 instants.

    Raises ObjectMissingError when the clip is gone and ClipError when it is damaged.
    """
    return await asyncio.to_thread(_frames, clips, task, min(instants or _MOST_INSTANTS, _MOST_INSTANTS))


def _frames(clips: StoredClips, task: Task, instants: int) -> list[Frame]:
    drive = clips.read(task.clip_address)
    if not drive.cameras:
        return []
    times = [image.time_ns for image in drive.images(drive.cameras[0])]
    moment = moment_index(times, task.moment_monotonic_ns)
    first = min(max(0, moment - instants // 2), max(0, len(times) - instants))
    frames = []
    for index in range(first, min(len(times), first + instants)):
        for camera in drive.cameras:
            images = drive.images(camera)
            if index >= len(images):
                continue
            frames.append(Frame(camera, drive.info.utc_ns(images[index].time_ns), index == moment, images[index].png))
    return frames


def moment_index(times_ns: list[int], moment_ns: int) -> int:
    """Index of the instant nearest to a moment; 0 for an empty list."""
    return min(range(len(times_ns)), key=lambda index: abs(times_ns[index] - moment_ns), default=0)

"""Hindsight, the automatic source: what the rest of the clip shows once the car has come closer.

What the model missed at the trigger's moment is often clear a second later. But the model is what is being corrected,
and where it drives, the car halts for whatever it sees. So hindsight answers only with a witness that does not depend
on the model: a person who drove the car to its halt, or the map. The model must have seen the thing clearly in at
least two later frames as well, and the car must have halted for no other reason. Everything else is left to people.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.clips import ClipError, Drive
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import Task as TaskDefinition
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.objects import ObjectMissingError
from label_desk.model import Source, Task, Vote

AUTHOR = "hindsight/1"
CLEAR = 0.9
"""Probability from which on a frame counts as having seen the thing."""
CLEAR_FRAMES = 2
HALT_KMH, WAS_DRIVING_KMH = 5.0, 12.0
"""Below the first the car has halted; above the second it was driving before."""
MAP_NEAR_M = 20.0
"""A feature of the map is where the car halts when it is nearer than this."""
_HIDDEN = "occluded"
log = get_logger(__name__)


def vote_by_clip(drive: Drive, schema: TaskSchema, task_name: str, moment_ns: int, now_utc_ns: int) -> Vote | None:
    """The answer that the rest of a clip gives, or None when it gives none.

    Only tasks with a decision can be answered: all heads of the decision have to become clear after the moment.
    """
    task = schema.task(task_name)
    paths = [schema.signal_names("Perception")[f"{task_name}.{head}"][0] for head in task.decision]
    if not paths or any(path not in drive.signals for path in paths):
        return None
    times = drive.signals[paths[0]].times_ns
    sure = np.min([_at(drive, path, times) for path in paths], axis=0)
    clear = (times > moment_ns) & (sure >= CLEAR)
    halt_ns = _halt_for_it(drive, moment_ns)
    if clear.sum() < CLEAR_FRAMES or halt_ns is None:
        return None
    if not (_person_braked(drive, halt_ns) or _map_promised(drive, task_name, halt_ns)):
        return None
    before = sure[times <= moment_ns]
    choice = _choice(task, hidden=bool(len(before)) and float(before[-1]) < 0.5)
    if choice is None:
        return None
    confidence = float(np.sort(sure[clear])[-CLEAR_FRAMES:].mean())
    return Vote(AUTHOR, Source.HINDSIGHT, {task_name: choice}, confidence, now_utc_ns)


def _at(drive: Drive, path: str, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Last known values of a signal at some instants; 0 before the first."""
    signal = drive.signals[path]
    index = np.searchsorted(signal.times_ns, times_ns, "right") - 1
    values = np.asarray(signal.values, dtype=np.float64)
    return np.where(index >= 0, values[np.maximum(index, 0)], 0.0) if len(values) else np.zeros(len(times_ns))


def _halt_for_it(drive: Drive, moment_ns: int) -> int | None:
    """When the car, which was driving, halted after the moment, with no red light and no vehicle in front."""
    speed = drive.signals.get("Vehicle.Speed")
    if speed is None:
        return None
    after = speed.times_ns > moment_ns
    if not after.any() or float(np.max(speed.values)) < WAS_DRIVING_KMH:
        return None
    halted = after & (np.asarray(speed.values, dtype=np.float64) < HALT_KMH)
    if not halted.any():
        return None
    halt_ns = speed.times_ns[halted][:1]
    lead = drive.signals.get("Perception.LeadVehicle.Present")
    if lead is not None and _at(drive, "Perception.LeadVehicle.Present", halt_ns)[0] > 0.5:
        return None
    return None if _category_at(drive, "Perception.TrafficLight.State", halt_ns) == "red" else int(halt_ns[0])


def _category_at(drive: Drive, path: str, at_ns: NDArray[np.int64]) -> str:
    """Last known value of a signal of names; empty before the first, and without the signal."""
    signal = drive.signals.get(path)
    if signal is None or not len(signal.values):
        return ""
    index = int(np.searchsorted(signal.times_ns, at_ns[0], "right")) - 1
    code = int(signal.values[index]) if index >= 0 else len(signal.dictionary)
    return signal.dictionary[code] if 0 <= code < len(signal.dictionary) else ""


def _person_braked(drive: Drive, halt_ns: int) -> bool:
    """True when a person drove from the last moment of full speed to the halt. Unknown is not true."""
    engaged = drive.signals.get("Autopilot.Engaged")
    speed = drive.signals["Vehicle.Speed"]
    driving = (speed.times_ns <= halt_ns) & (np.asarray(speed.values, dtype=np.float64) >= WAS_DRIVING_KMH)
    if engaged is None or not len(engaged.values) or not driving.any():
        return False
    since_ns = int(speed.times_ns[driving][-1])
    if engaged.times_ns[0] > since_ns:
        return False
    between = (engaged.times_ns > since_ns) & (engaged.times_ns <= halt_ns)
    at_first = _at(drive, "Autopilot.Engaged", np.array([since_ns], np.int64))[0]
    return at_first == 0 and not np.asarray(engaged.values)[between].any()


def _map_promised(drive: Drive, task_name: str, halt_ns: int) -> bool:
    """True when the map has this feature where the car halted."""
    at_ns = np.array([halt_ns], np.int64)
    distance = drive.signals.get("Map.FeatureDistance")
    if distance is None or not len(distance.values) or distance.times_ns[0] > halt_ns:
        return False
    near = _at(drive, "Map.FeatureDistance", at_ns)[0] < MAP_NEAR_M
    return bool(near) and _category_at(drive, "Map.Feature", at_ns) == task_name


def _choice(task: TaskDefinition, hidden: bool) -> str | None:
    """The choice that affirms the whole decision: the occluded one when the thing was hidden, else the plain one."""
    yes = [c for c in task.answers if all(c.heads.get(head) == 1 for head in task.decision)]
    if hidden:
        occluded = [c for c in yes if any(v == [_HIDDEN] for v in c.heads.values())]
        if occluded:
            return occluded[0].name
    plain = [c for c in yes if not any(v for v in c.heads.values() if isinstance(v, list))]
    return plain[0].name if plain else None


def hindsight_vote(clips: StoredClips, schema: TaskSchema, task: Task, now_utc_ns: int) -> Vote | None:
    """Hindsight's vote on a task, or None when the clip does not show the answer or cannot be read."""
    try:
        drive = clips.read(task.clip_address)
    except (ObjectMissingError, ClipError) as error:
        log.warning("clip_unreadable", task_id=task.task_id, error=str(error))
        return None
    try:
        return vote_by_clip(drive, schema, task.task, task.moment_monotonic_ns, now_utc_ns)
    except (TaskSchemaError, LookupError, TypeError, ValueError, OverflowError) as error:
        # A clip may be intact and still hold what a signal of that name cannot be: a list, or NaN as a code.
        log.warning("clip_unusable", task_id=task.task_id, error=repr(error))
        return None

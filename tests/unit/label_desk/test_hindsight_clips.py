from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from tests.clips import put_clip, reading

from fleetloop.domain.clips import DriveInfo, DriveSignal, DriveWriter
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.label.v1 import label_pb2
from label_desk.codec import task_of
from label_desk.hindsight import hindsight_vote

SCHEMA = load_task_schema(Path(__file__).parents[3] / "config" / "tasks.yaml")
S = 10**9
TIMES = np.arange(0, 10 * S, S // 2).astype(np.int64)
LIGHT = "Perception.TrafficLight.State"
ENDS = np.zeros(len(TIMES) + 1, np.uint32)


def look(folder: Path, **changes: DriveSignal) -> object:
    later = np.where(np.arange(len(TIMES)) < 12, 0.1, 0.97)
    signals = {
        "Perception.StopSign.IsSign": DriveSignal(TIMES, later),
        "Perception.StopSign.Applies": DriveSignal(TIMES, later),
        "Vehicle.Speed": DriveSignal(TIMES, np.where(np.arange(len(TIMES)) < 15, 28.0, 1.0)),
        "Autopilot.Engaged": DriveSignal(TIMES, np.arange(len(TIMES)) < 13),
        LIGHT: DriveSignal(TIMES, np.zeros(len(TIMES), np.uint8), None, ("none", "red")),
    } | {name.replace("_", "."): signal for name, signal in changes.items()}
    target = io.BytesIO()
    with DriveWriter(target, DriveInfo("car", "drive")) as writer:
        for name, signal in signals.items():
            writer.signal(name, signal.times_ns, signal.values, signal.splits, signal.dictionary)
    objects = Objects(folder.as_uri())
    address = put_clip(objects, target.getvalue())
    created = label_pb2.LabelTaskCreated(task="stop_sign", clip_address=address, moment_monotonic_ns=4 * S)
    with reading(objects, SCHEMA) as clips:
        return hindsight_vote(clips, SCHEMA, task_of(created), 1)


def test_a_clip_that_shows_it_is_an_answer(tmp_path: Path) -> None:
    assert look(tmp_path) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"Perception_TrafficLight_State": DriveSignal(TIMES, np.full(len(TIMES), np.nan))},
        {"Perception_StopSign_IsSign": DriveSignal(TIMES, np.zeros(1), np.append(ENDS[:-1], 1).astype(np.uint32))},
        {"Vehicle_Speed": DriveSignal(TIMES, np.zeros(0), ENDS)},
    ],
)
def test_a_clip_whose_signals_are_not_what_their_names_say_is_left_to_people(
    tmp_path: Path, changes: dict[str, DriveSignal]
) -> None:
    assert look(tmp_path, **changes) is None


def test_a_clip_that_is_gone_or_damaged_is_left_to_people(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    damaged = put_clip(objects, b"not a clip")
    with reading(objects, SCHEMA) as clips:
        for address in ("gone", damaged):
            task = task_of(label_pb2.LabelTaskCreated(task="stop_sign", clip_address=address))
            assert hindsight_vote(clips, SCHEMA, task, 1) is None

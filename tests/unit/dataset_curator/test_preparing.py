from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from dataset_curator.preparing import imported_sample, sample_of
from fleetloop.domain.clips import ClipError, DriveInfo, DriveWriter
from fleetloop.domain.labelled_set import LabelledRow
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.shipped import config_folder

SCHEMA = load_task_schema(config_folder() / "tasks.yaml")
S = 10**9


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path.as_uri())


def labelled(objects: Objects, height: int) -> label_pb2.SampleLabelled:
    target = io.BytesIO()
    with DriveWriter(target, DriveInfo("car", "drive")) as writer:
        for tick in range(8):
            for camera in SCHEMA.cameras:
                writer.image(camera.name, tick * S // 2, np.full((height, camera.width, 3), tick, np.uint8))
    objects.put_once("clip", target.getvalue())
    return label_pb2.SampleLabelled(
        provenance=provenance_pb2.Provenance(sample_id="s"),
        task="stop_sign",
        answers={"stop_sign": "plain"},
        clip_address="clip",
        moment_monotonic_ns=3 * S,
    )


def test_a_moment_is_read_with_the_frames_that_the_net_sees(objects: Objects) -> None:
    camera = SCHEMA.cameras[0]
    sample = sample_of(labelled(objects, camera.height), objects, SCHEMA, load_trunk())
    assert sample.frames.shape == (SCHEMA.frames.count, len(SCHEMA.cameras), camera.height, camera.width, 3)
    assert sample.frames[-1].max() == 6


@pytest.mark.parametrize("height", [8, SCHEMA.cameras[0].height * 2])
def test_pictures_of_another_size_never_join_since_no_run_could_read_them(objects: Objects, height: int) -> None:
    with pytest.raises(ClipError, match=r"config/tasks\.yaml wants"):
        sample_of(labelled(objects, height), objects, SCHEMA, load_trunk())


def test_a_labelled_set_with_pictures_of_another_size_is_refused() -> None:
    frames = np.zeros((1, 1, 8, 8, 3), np.uint8)
    answers = {"stop_sign": dict(SCHEMA.task("stop_sign").answer("plain").heads)}
    row = LabelledRow(sample_id="s", frames=frames, answers=answers, choice="", slice="", place="", moment_utc_ns=0)
    with pytest.raises(ClipError, match="s: frames_shape"):
        imported_sample(row, SCHEMA, load_trunk(), 0)

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.clips import put_clip, reading

from dataset_curator.codec import labelled_of
from dataset_curator.model import LabelledMoment
from dataset_curator.preparing import imported_sample, sample_of
from fleetloop.domain.clips import ClipError, DriveInfo, DriveWriter
from fleetloop.domain.clips.stored import StoredClips
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


@pytest.fixture
def clips(objects: Objects) -> Iterator[StoredClips]:
    with reading(objects, SCHEMA) as clips:
        yield clips


def labelled(objects: Objects, height: int, name: str = "s", noise: int | None = None) -> LabelledMoment:
    """A labelled moment of a clip: each picture has the number of its instant, or noise from the seed `noise`."""
    pixels = None if noise is None else np.random.default_rng(noise).integers(0, 255, (height, 1, 3), np.uint8)
    target = io.BytesIO()
    with DriveWriter(target, DriveInfo("car", "drive")) as writer:
        for tick in range(8):
            for camera in SCHEMA.cameras:
                writer.image(
                    camera.name,
                    tick * S // 2,
                    np.full((height, camera.width, 3), tick if pixels is None else pixels, np.uint8),
                )
    address = put_clip(objects, target.getvalue())
    message = label_pb2.SampleLabelled(
        provenance=provenance_pb2.Provenance(sample_id=name, clip_id=address[-69:-5]),
        dataset="town",
        task="stop_sign",
        answers={"stop_sign": "plain"},
        clip_address=address,
        moment_monotonic_ns=3 * S,
    )
    return labelled_of(message)


def test_a_moment_is_read_with_the_frames_that_the_net_sees(objects: Objects, clips: StoredClips) -> None:
    camera = SCHEMA.cameras[0]
    sample = sample_of(labelled(objects, camera.height), clips, SCHEMA, load_trunk())
    assert sample.frames.shape == (SCHEMA.frames.count, len(SCHEMA.cameras), camera.height, camera.width, 3)
    assert sample.frames[-1].max() == 6


@pytest.mark.parametrize("height", [8, SCHEMA.cameras[0].height * 2])
def test_pictures_of_another_size_never_join_since_no_run_could_read_them(
    objects: Objects, clips: StoredClips, height: int
) -> None:
    with pytest.raises(ClipError, match=r"config/tasks\.yaml says 32 x 32 for this camera"):
        sample_of(labelled(objects, height), clips, SCHEMA, load_trunk())


def test_a_labelled_set_with_pictures_of_another_size_is_refused() -> None:
    frames = np.zeros((1, 1, 8, 8, 3), np.uint8)
    answers = {"stop_sign": dict(SCHEMA.task("stop_sign").answer("plain").heads)}
    row = LabelledRow(sample_id="s", frames=frames, answers=answers, choice="", slice="", place="", moment_utc_ns=0)
    with pytest.raises(ClipError, match="s: frames_shape"):
        imported_sample(row, SCHEMA, load_trunk(), 0)

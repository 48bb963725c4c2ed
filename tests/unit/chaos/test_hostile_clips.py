"""Every hostile content is refused by the reader that desk and curator use, and is what its name says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.chaos.hostile_clips import HOSTILE
from tests.chaos.vehicle import S, make_clip
from tests.clips import put_clip, reading

from fleetloop.domain.clips import ClipError
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.shipped import config_folder

SCHEMA = load_task_schema(config_folder() / "tasks.yaml")
WANTED = command_pb2.SendClip(firing_id="f1", boot_id=b"12345678", onset_monotonic_ns=10 * S)
ERRORS = {
    "a clip with a picture of 4096 x 4096": "is 4096 x 4096",
    "a clip with a picture time of 2^63": "has a time that is not between",
    "a clip of 114 kB that unpacks to 800 MB": "unpacks to more than",
    "a clip with a picture that is no PNG": "is not a readable PNG",
}


def test_each_content_is_known_here() -> None:
    assert ERRORS.keys() == HOSTILE.keys()


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_clip_is_refused_and_small(name: str, tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    content = make_clip(SCHEMA, "f", "car", WANTED, time.time_ns(), name)
    assert len(content) < 200_000
    with reading(objects, SCHEMA, 256 * 1024 * 1024) as clips, pytest.raises(ClipError, match=ERRORS[name]):
        clips.read(put_clip(objects, content))


def test_an_honest_clip_is_read(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    content = make_clip(SCHEMA, "f", "car", WANTED, time.time_ns())
    with reading(objects, SCHEMA, 256 * 1024 * 1024) as clips:
        assert clips.read(put_clip(objects, content)).info.firing_id == "f1"

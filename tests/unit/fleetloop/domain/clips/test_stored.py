"""Clips are read in a process of their own; whatever their bytes do, the caller gets a drive or a ClipError."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.opcode import Opcode
from tests.chaos.hostile_clips import black_png, clip_with_picture
from tests.clips import put_clip, reading

from fleetloop.domain.clips import ClipError, DriveInfo, DriveWriter, read_drive
from fleetloop.domain.clips.layout import encode_png
from fleetloop.domain.clips.limits import RECORDING, clip_limits
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.clips.transfer import drive_from, drive_message, receive
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.storage.objects import ObjectMissingError, Objects
from fleetloop.shipped import config_folder

SCHEMA = load_task_schema(config_folder() / "tasks.yaml")
CAMERA = SCHEMA.cameras[0]
PIXELS = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
MIB = 1024 * 1024
MAGIC = b"\x89MCAP0\r\n"


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path.as_uri())


@pytest.fixture
def clips(objects: Objects) -> Iterator[StoredClips]:
    with reading(objects, SCHEMA, 16 * MIB) as clips:
        yield clips


def good(**changes: object) -> bytes:
    target = io.BytesIO()
    with DriveWriter(target, DriveInfo("car", "drive", **changes)) as writer:  # type: ignore[arg-type]
        times = np.arange(5, dtype=np.int64) * 10**8
        writer.signal("Vehicle.Speed", times, np.ones(5, np.float32))
        writer.signal("Map.Feature", times, np.zeros(5, np.uint8), None, ("none", "stop_sign"))
        splits = np.array([0, 1, 1, 2, 2, 4], np.uint32)
        writer.signal("Perception.Tracks.Id", times, np.arange(4, dtype=np.int64), splits)
        for number in range(3):
            writer.image(CAMERA.name, number * 10**8, PIXELS)
    return target.getvalue()


def with_a_smaller_claim(content: bytes) -> bytes:
    """A clip whose first chunk says that it unpacks to 100 bytes, and gives no checksum."""
    at = len(MAGIC)
    while content[at] != Opcode.CHUNK:
        at += 9 + int.from_bytes(content[at + 1 : at + 9], "little")
    claim = at + 9 + 16  # after the opcode, the length, and the first and last time
    return content[:claim] + struct.pack("<QI", 100, 0) + content[claim + 12 :]


def with_picture(png: bytes, *, time_ns: int = 0, times: int = 1, camera: str = CAMERA.name) -> bytes:
    return clip_with_picture(DriveInfo("car", "drive"), camera, png, time_ns, times)


def test_a_clip_is_read_as_in_the_own_process(objects: Objects, clips: StoredClips) -> None:
    content = good(firing_id="f", boot_id=b"12345678", onset_monotonic_ns=5)
    found, expected = clips.read(put_clip(objects, content)), read_drive(content)
    assert (found.info, found.pictures) == (expected.info, expected.pictures)
    assert set(found.signals) == set(expected.signals)
    for name, ours in found.signals.items():
        theirs = expected.signals[name]
        np.testing.assert_array_equal(ours.times_ns, theirs.times_ns)
        np.testing.assert_array_equal(ours.values, theirs.values)
        assert ours.values.dtype == theirs.values.dtype and ours.dictionary == theirs.dictionary
        assert (ours.splits is None) == (theirs.splits is None)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (with_picture(encode_png(PIXELS), time_ns=2**63), "has a time that is not between"),
        (with_picture(encode_png(PIXELS), time_ns=2**64 - 1), "has a time that is not between"),
        (with_picture(black_png(4096)), "is 4096 x 4096; config/tasks.yaml says 32 x 32 for this camera"),
        (with_picture(black_png(9000), camera="other"), "is 9000 x 9000, at most 8192 on a side"),
        (with_picture(os.urandom(64)), "is not a readable PNG"),
        (with_picture(encode_png(PIXELS) + zlib.compress(bytes(MIB)), times=40_000), "unpacks to more than 16777216"),
        (with_picture(b"\0" * (6 * MIB), times=3), "unpacks to more than|is not a readable PNG"),
        (with_a_smaller_claim(good()), "unpacks to more than it says"),
        (good(start_utc_ns=2**62), "start_utc_ns: is not nanoseconds before"),
        (good(map_version=2**40), "map_version"),
        (good(trigger="a\0b"), "trigger: must be at most"),
        (b"", "is damaged, cut short or no MCAP file"),
        (good()[:-20], "cut short|damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_clip_outside_its_limits_is_an_error_that_names_the_part(
    objects: Objects, clips: StoredClips, content: bytes, error: str
) -> None:
    with pytest.raises(ClipError, match=error):
        clips.read(put_clip(objects, content))
    assert clips.read(put_clip(objects, good())).cameras == (CAMERA.name,), "and the next clip is read"


def test_the_bytes_must_be_those_that_the_address_and_the_label_name(objects: Objects, clips: StoredClips) -> None:
    address = put_clip(objects, good())
    objects.put(address, good(firing_id="another"))
    with pytest.raises(ClipError, match="has the SHA-256"):
        clips.read(address)
    other = put_clip(objects, good())
    with pytest.raises(ClipError, match="has the SHA-256"):
        clips.read(other, "0" * 64)
    objects.put("demo/clips/mine.mcap", good())
    with pytest.raises(ClipError, match="has the SHA-256"):
        clips.read("demo/clips/mine.mcap")
    with pytest.raises(ObjectMissingError):
        clips.read("demo/clips/gone.mcap")


def _child(clips: StoredClips) -> psutil.Process:
    assert clips._process is not None
    return psutil.Process(clips._process.pid)


def test_a_reading_process_that_dies_is_an_error_and_the_next_clip_has_a_new_one(
    objects: Objects, clips: StoredClips
) -> None:
    address = put_clip(objects, good())
    clips.read(address)
    _child(clips).send_signal(signal.SIGKILL)
    _child(clips).wait(5)
    assert clips.read(address).cameras


def test_a_reading_process_that_is_killed_meanwhile_costs_no_clip(
    objects: Objects, clips: StoredClips, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, kills = clips._running, [2]

    def killed() -> object:
        process = start()
        if kills[0] > 0:
            kills[0] -= 1
            process.kill()
        return process

    monkeypatch.setattr(clips, "_running", killed)
    address = put_clip(objects, good())
    with pytest.raises(ClipError, match=r"ends the process that reads it .* twice"):
        clips.read(address)
    kills[0] = 1
    assert clips.read(address).cameras


def test_a_reading_that_takes_too_long_is_given_up(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = StoredClips(objects, clip_limits(SCHEMA, 16 * MIB), timeout_s=0.3)
    try:
        address = put_clip(objects, good())
        start = clips._running

        def suspended() -> object:
            process = start()
            _child(clips).suspend()
            return process

        monkeypatch.setattr(clips, "_running", suspended)
        with pytest.raises(ClipError, match=r"takes more than 0\.3 s to read, twice"):
            clips.read(address)
        assert clips._process is None
    finally:
        clips.close()


def test_the_reading_process_has_no_secrets_little_memory_and_ends_with_its_owner(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETLOOP_KAFKA_PASSWORD", "hunter2")
    with reading(objects, SCHEMA, 16 * MIB) as clips:
        clips.read(put_clip(objects, good()))
        child = _child(clips)
        assert "hunter2" not in child.environ().values()
        limit = child.rlimit(psutil.RLIMIT_AS)[0]
        assert child.memory_info().vms < limit <= 400 * MIB
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert not child.is_running()


def test_recent_clips_are_kept_up_to_a_number_of_bytes(objects: Objects) -> None:
    clips = StoredClips(objects, clip_limits(SCHEMA, 16 * MIB), cache_bytes=2000)
    try:
        addresses = [put_clip(objects, good(firing_id=f"f{number}")) for number in range(12)]
        for address in addresses:
            clips.read(address)
        assert 0 < len(clips._cached) < 12
        assert sum(size for _, size in clips._cached.values()) <= 2000
        newest = clips.read(addresses[-1])
        assert clips.read(addresses[-1]) is newest
    finally:
        clips.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_damaged_bytes_are_a_drive_or_an_error(objects: Objects, clips: StoredClips, seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    raw = bytearray(good())
    for _ in range(times):
        raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
    try:
        clips.read(put_clip(objects, bytes(raw)))
    except ClipError as error:
        assert error.where


@pytest.mark.parametrize("lengths", [[2 * MIB], [MIB, 1], [1, -1]])
def test_an_answer_larger_than_the_memory_is_not_read(lengths: list[int]) -> None:
    header = json.dumps({"bodies": lengths}).encode()
    for answer in (struct.pack("<Q", 2**40), struct.pack("<Q", len(header)) + header + bytes(2 * MIB)):
        asked: list[int] = []
        stream = io.BytesIO(answer)

        def read(size: int, stream: io.BytesIO = stream, asked: list[int] = asked) -> bytes:
            asked.append(size)
            return stream.read(size)

        with pytest.raises(ClipError, match=r"has more than|holds more than"):
            receive(read, MIB)
        assert max(asked) < MIB


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_lying_reading_process_is_not_believed(data: st.DataObject) -> None:
    header, bodies = drive_message(read_drive(good()))
    key = data.draw(st.sampled_from(sorted(header)))
    header[key] = data.draw(st.none() | st.integers() | st.text() | st.lists(st.lists(st.integers() | st.text())))
    bodies = bodies[: data.draw(st.integers(0, len(bodies)))]
    try:
        drive_from(header, bodies, RECORDING)
    except ClipError as error:
        assert error.where

"""Whatever was recorded, a clip holds exactly the wanted seconds that are still there, and memory stays bounded."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.domain.clips import DriveInfo, read_drive
from fleetloop.domain.frames import Column, FrameBatch
from vehicle_agent.model import ClipRequest
from vehicle_agent.ring_buffer import Availability, CameraFrame, RingBuffer, write_clip

S = 1_000_000_000
BASE = DriveInfo("v", "d", boot_id=b"12345678", fleet_id="f", utc_source="simulated")


def batch(start: int, frames: int, sequence: int = 0) -> FrameBatch:
    offsets = np.arange(frames, dtype=np.int64)
    own = np.array([0, frames - 1], np.int64)
    return FrameBatch(
        "f", "v", b"12345678", sequence, start, 10**18 + start, "simulated", offsets,
        {
            "Vehicle.Speed": Column((offsets + start).astype(np.float64)),
            "Radar.Object.Id": Column(np.array([start, 1, start + frames - 1]), own, np.array([0, 2, 3], np.uint32)),
            "Map.Feature": Column((offsets % 2).astype(np.uint16), dictionary=("none", "stop_sign")),
            "Map.Version": Column(np.full(frames, 4)),
        },
        f"{sequence:064x}",
    )  # fmt: skip


def request(start: int, end: int, onset: int | None = None, cameras: tuple[str, ...] = ()) -> ClipRequest:
    return ClipRequest("c", "f1", b"12345678", start, end, start if onset is None else onset, cameras, "t")


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
    st.integers(1, 100),
    st.integers(0, 300),
    st.integers(0, 100),
)
@settings(max_examples=150, deadline=None)
def test_a_clip_is_what_was_recorded(lengths: list[int], horizon: int, start: int, length: int) -> None:
    ring = RingBuffer(horizon)
    now, shot_times = 0, []
    for number, frames in enumerate(lengths):
        for tick in range(now, now + frames, 5):
            ring.add_camera_frame(CameraFrame(tick, np.full((2, 8, 8, 3), tick % 256, np.uint8), ("left", "right")))
            shot_times.append(tick)
        ring.add_batch(batch(now, frames, number))
        now += frames
    latest, oldest = now - 1, ring.oldest_ns
    assert oldest is not None
    assert ring.latest_ns == latest
    assert (
        oldest == 0 or latest - horizon - max(lengths) < oldest <= latest
    )  # at most one batch more than the horizon
    wanted = request(start, start + length)
    availability = ring.availability(wanted)
    assert (availability is Availability.GONE) == (start < oldest)
    assert (availability is Availability.READY) == (oldest <= start and start + length <= latest)
    if availability is Availability.GONE or start > latest:
        return
    buffer = io.BytesIO()
    write_clip(ring.cut(wanted, BASE), buffer)
    drive = read_drive(buffer.getvalue())
    speed = drive.signals["Vehicle.Speed"]
    expected = np.arange(start, min(start + length, latest) + 1)
    np.testing.assert_array_equal(speed.times_ns, expected)
    np.testing.assert_array_equal(speed.values, expected)
    assert [i.time_ns for i in drive.pictures.get("left", ())] == [
        t for t in shot_times if start <= t <= start + length
    ]
    assert drive.info.utc_ns(start) == 10**18 + start
    assert drive.info.map_version == 4


def test_a_clip_names_its_cause_its_model_and_its_cameras() -> None:
    ring = RingBuffer(100)
    for number in range(4):
        ring.add_camera_frame(CameraFrame(number * 10, np.zeros((2, 8, 8, 3), np.uint8), ("left", "right")))
        ring.add_batch(batch(number * 10, 10, number))
    cut = ring.cut(request(5, 35, onset=22, cameras=("right",)), BASE)
    first, second = io.BytesIO(), io.BytesIO()
    assert write_clip(cut, first) == ("right",)
    write_clip(cut, second)
    assert first.getvalue() == second.getvalue()
    drive = read_drive(first.getvalue())
    assert drive.cameras == ("right",)
    assert drive.info.model_digest == f"{2:064x}"
    assert (drive.info.firing_id, drive.info.command_id, drive.info.trigger) == ("f1", "c", "t")
    assert drive.info.onset_monotonic_ns == 22
    radar = drive.signals["Radar.Object.Id"]
    assert radar.splits is not None
    assert [part.tolist() for part in np.split(radar.values, radar.splits[1:-1])] == [
        [9], [10, 1], [19], [20, 1], [29], [30, 1]
    ]  # fmt: skip


def test_nothing_recorded_yet_is_waited_for() -> None:
    ring = RingBuffer(10)
    assert ring.availability(request(0, 5)) is Availability.WAITING
    ring.add_batch(batch(0, 3))
    assert ring.availability(request(0, 5)) is Availability.WAITING
    ring.add_batch(batch(3, 3), until_ns=8)
    assert ring.availability(request(0, 8)) is Availability.READY

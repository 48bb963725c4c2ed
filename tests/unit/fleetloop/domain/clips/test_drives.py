"""What is written is read again to the bit; whatever happened to the bytes, a reader is told or nothing changed."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import Writer

from fleetloop.domain.clips import ClipError, DriveInfo, DriveWriter, read_drive

INFO = DriveInfo(
    "v-1",
    "drive-7",
    start_monotonic_ns=5_000_000_000,
    start_utc_ns=1_700_000_000_000_000_000,
    boot_id=b"\x01\xff" * 4,
    onset_monotonic_ns=9_000_000_000,
    trigger="hard_braking",
    map_version=3,
)
S = 1_000_000_000


def written(ticks: int = 8, side: int = 6) -> bytes:
    chance = np.random.default_rng(1)
    buffer = io.BytesIO()
    times = 5 * S + np.sort(chance.integers(0, 35 * S, 500)).astype(np.int64)
    splits = np.concatenate([[0], np.cumsum(chance.integers(0, 4, 100))]).astype(np.uint32)
    with DriveWriter(buffer, INFO) as drive:
        drive.signal("Vehicle.Speed", times, chance.normal(size=500).astype(np.float32))
        drive.signal("Radar.Object.Id", times[:100], np.arange(splits[-1], dtype=np.int32), splits)
        drive.signal("Map.Feature", times[:9], np.arange(9, dtype=np.uint8) % 2, dictionary=("none", "stop_sign"))
        drive.signal("Autopilot.Engaged", times[:9], np.arange(9) % 2 == 0)
        drive.signal("Never.Seen", times[:0], np.zeros(0, np.float64))
        for tick in range(ticks):
            for camera in ("left", "right"):
                pixels = np.full((side, side, 3), 10 * tick + (camera == "right"), np.uint8)
                drive.image(camera, 5 * S + tick * S // 2, pixels)
    return buffer.getvalue()


DRIVE = written()


def test_everything_comes_back() -> None:
    drive = read_drive(DRIVE)
    chance = np.random.default_rng(1)
    times = 5 * S + np.sort(chance.integers(0, 35 * S, 500)).astype(np.int64)
    splits = np.concatenate([[0], np.cumsum(chance.integers(0, 4, 100))]).astype(np.uint32)
    assert drive.info == INFO
    speed, radar = drive.signals["Vehicle.Speed"], drive.signals["Radar.Object.Id"]
    np.testing.assert_array_equal(speed.times_ns, times)
    np.testing.assert_array_equal(speed.values, chance.normal(size=500).astype(np.float32))
    assert radar.splits is not None
    np.testing.assert_array_equal(radar.splits, splits)
    np.testing.assert_array_equal(radar.values, np.arange(splits[-1]))
    assert drive.signals["Map.Feature"].dictionary == ("none", "stop_sign")
    assert drive.signals["Autopilot.Engaged"].values.dtype == np.bool_
    assert drive.cameras == ("left", "right")
    assert [image.time_ns for image in drive.images("left")] == [5 * S + tick * S // 2 for tick in range(8)]
    assert drive.span_ns() == (5 * S, int(times[-1]))


def test_the_same_input_has_the_same_digest() -> None:
    assert hashlib.sha256(written()).digest() == hashlib.sha256(DRIVE).digest()


def test_frames_are_what_the_net_sees() -> None:
    drive = read_drive(DRIVE)
    frames = drive.frames_at(["right", "left"], 5 * S + int(1.7 * S), 3, 0.5)
    assert frames.shape == (3, 2, 6, 6, 3)
    assert frames[:, :, 0, 0, 0].tolist() == [[11, 10], [21, 20], [31, 30]]
    exact = drive.frames_at(["left"], 5 * S + S // 2, 2, 0.5)
    assert exact[:, 0, 0, 0, 0].tolist() == [0, 10]


@pytest.mark.parametrize(
    ("cameras", "moment_ns", "count", "where"),
    [
        (["front"], 8 * S, 1, "camera front"),
        (["left"], 4 * S, 1, "camera left"),
        (["left"], 5 * S, 2, "camera left"),
        (["left"], 60 * S, 1, "camera left"),
        ([], 8 * S, 1, "cameras"),
    ],
)
def test_missing_frames_are_named(cameras: list[str], moment_ns: int, count: int, where: str) -> None:
    with pytest.raises(ClipError) as caught:
        read_drive(DRIVE).frames_at(cameras, moment_ns, count, 0.5)
    assert caught.value.where == where


def test_signals_may_be_written_in_several_calls_and_read_in_part() -> None:
    buffer = io.BytesIO()
    with DriveWriter(buffer, INFO) as drive:
        for begin in (0, 10):
            times = np.arange(begin, begin + 10, dtype=np.int64)
            drive.signal("A.B", times, np.arange(20, dtype=np.int64), np.arange(0, 22, 2, dtype=np.uint32))
        with pytest.raises(ClipError, match=r"A\.B\.times_ns"):
            drive.signal("A.B", np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(2, np.uint32))
        with pytest.raises(ClipError, match="another type"):
            drive.signal("A.B", times, times)
    signal = read_drive(buffer.getvalue()).signals["A.B"]
    part = signal.between(8, 11)
    assert part.times_ns.tolist() == [8, 9, 10, 11]
    assert part.values.tolist() == [16, 17, 18, 19, 0, 1, 2, 3]
    assert part.splits is not None and part.splits.tolist() == [0, 2, 4, 6, 8]
    assert signal.between(100, 50).rows() == 0


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), DriveWriter(tmp_path / "a.mcap", INFO):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with DriveWriter(tmp_path / "a.mcap", INFO):
        pass
    assert read_drive(tmp_path / "a.mcap").info == INFO


@pytest.mark.parametrize(
    ("name", "times", "values", "where"),
    [
        ("A", [2, 1], np.zeros(2), "signal A.times_ns"),
        ("A", [-1], np.zeros(1), "signal A.times_ns"),
        ("A", [1, 2], np.zeros(3), "signal A.values"),
        ("A", [1], np.array(["x"]), "signal A.values"),
        ("/A", [1], np.zeros(1), "signal /A"),
    ],
)
def test_bad_signals_are_refused(name: str, times: list[int], values: np.ndarray, where: str) -> None:
    with DriveWriter(io.BytesIO(), INFO) as drive, pytest.raises(ClipError) as caught:
        drive.signal(name, np.array(times, np.int64), values)
    assert caught.value.where == where


def test_foreign_files_are_told() -> None:
    for content in (b"", b"PK\x03\x04 a zip, say", DRIVE[:-1], DRIVE[: len(DRIVE) // 2]):
        with pytest.raises(ClipError, match="damaged, cut short or no MCAP"):
            read_drive(content)
    foreign = io.BytesIO()
    other = Writer(foreign)
    other.start(profile="ros2")
    other.finish()  # type: ignore[no-untyped-call]
    with pytest.raises(ClipError, match="profile 'ros2'"):
        read_drive(foreign.getvalue())


@given(st.integers(0, len(DRIVE) - 1), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_noticed_or_changes_nothing(offset: int, by: int) -> None:
    damaged = bytearray(DRIVE)
    damaged[offset] ^= by
    try:
        drive = read_drive(bytes(damaged))
    except ClipError:
        return
    whole = read_drive(DRIVE)
    assert drive.info == whole.info
    assert drive.pictures == whole.pictures
    for name, signal in whole.signals.items():
        np.testing.assert_array_equal(drive.signals[name].values, signal.values)
        np.testing.assert_array_equal(drive.signals[name].times_ns, signal.times_ns)

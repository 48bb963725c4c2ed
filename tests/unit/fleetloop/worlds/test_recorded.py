"""A replayed drive has every value once, at its own instant, whatever the timelines look like."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.domain.clips import ClipError, Drive, DriveInfo, DriveSignal, DriveWriter, read_drive
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.validation import validate
from fleetloop.worlds.comma2k19 import convert, find_comma2k19, read_segment
from fleetloop.worlds.recorded import RecordedDrive

CATALOGUE = load_catalogue(Path(__file__).parents[4] / "config" / "signals.yaml")
TIMES = st.lists(st.integers(0, 50), min_size=0, max_size=40).map(sorted)


@given(st.lists(TIMES, min_size=1, max_size=4).filter(any), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_every_value_is_sent_once_at_its_instant(timelines: list[list[int]], size: int, again_from: int) -> None:
    chance = np.random.default_rng(0)
    signals = {}
    for number, times in enumerate(timelines):
        counts = chance.integers(0, 3, len(times))
        splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32) if number % 2 else None
        total = int(counts.sum()) if number % 2 else len(times)
        signals[f"S.{number}"] = DriveSignal(np.array(times, np.int64), np.arange(total, dtype=np.int32), splits)
    world = RecordedDrive(Drive(DriveInfo("v", "d"), signals, {}), size)
    stretches = list(world.stretches("f", "v", b"12345678"))
    assert [stretch.batch.sequence for stretch in stretches] == list(range(len(world)))
    assert sum(stretch.batch.frames() for stretch in stretches) == world.frames
    for name, signal in signals.items():
        instants: list[int] = []
        values: list[int] = []
        lengths: list[int] = []
        for stretch in stretches:
            column = stretch.batch.columns.get(name)
            if column is not None:
                offsets = stretch.batch.frame_offsets_ns if column.offsets_ns is None else column.offsets_ns
                assert len(offsets) == column.rows() and (offsets >= 0).all()
                instants += (offsets + stretch.batch.start_monotonic_ns).tolist()
                values += column.values.tolist()
                lengths += [] if column.splits is None else np.diff(column.splits).tolist()
        assert instants == signal.times_ns.tolist()
        assert values == signal.values.tolist()
        assert lengths == ([] if signal.splits is None else np.diff(signal.splits).tolist())
    rest = [stretch.batch.start_monotonic_ns for stretch in world.stretches("f", "v", b"1" * 8, first=again_from)]
    assert rest == [stretch.batch.start_monotonic_ns for stretch in stretches[again_from:]]


def test_pictures_come_with_their_batch_and_utc_can_be_moved() -> None:
    buffer = io.BytesIO()
    with DriveWriter(buffer, DriveInfo("v", "d", start_utc_ns=10**18)) as drive:
        drive.signal("Vehicle.Speed", np.arange(0, 100, 10, dtype=np.int64), np.zeros(10, np.float32))
        for tick in (0, 45, 90):
            drive.image("front", tick, np.zeros((8, 8, 3), np.uint8))
    world = RecordedDrive(read_drive(buffer.getvalue()), 5)
    stretches = list(world.stretches("f", "v", b"1" * 8, start_utc_ns=5))
    assert [[image.time_ns for _, image in stretch.images] for stretch in stretches] == [[0, 45], [90]]
    assert [stretch.batch.start_utc_ns for stretch in stretches] == [5, 55]


def test_a_drive_without_signals_is_refused() -> None:
    with pytest.raises(ClipError, match="no signal"):
        RecordedDrive(Drive(DriveInfo("v", "d"), {}, {}))


def test_a_folder_that_is_no_segment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"CAN/speed: cannot be read"):
        convert(tmp_path, tmp_path / "out.mcap")
    assert find_comma2k19({"FLEETLOOP_COMMA2K19": str(tmp_path / "none")}) is None


SEGMENT = find_comma2k19()


@pytest.mark.skipif(SEGMENT is None, reason="comma2k19 is not here; set FLEETLOOP_COMMA2K19 to a segment's folder")
def test_the_real_minute_passes_the_catalogue_whole_with_its_real_times(tmp_path: Path) -> None:
    assert SEGMENT is not None
    info = convert(SEGMENT, tmp_path / "minute.mcap")
    drive = read_drive(tmp_path / "minute.mcap")
    assert drive.info == info
    raw = np.load(SEGMENT / "processed_log" / "CAN" / "speed" / "t")
    speed = drive.signals["Vehicle.Speed"]
    np.testing.assert_array_equal(speed.times_ns, np.round(raw * 1e9).astype(np.int64))
    gaps_ms = np.diff(speed.times_ns) / 1e6
    assert gaps_ms.min() < 1 and gaps_ms.max() > 20  # the jitter is still there
    assert speed.values.min() > 28 and speed.values.max() < 72
    radar = drive.signals["Radar.Object.Id"]
    assert radar.splits is not None and len(radar.values) == 10_100
    lists = np.split(radar.values, radar.splits[1:-1])
    assert all(len(set(each.tolist())) == len(each) for each in lists)
    assert 15 < radar.rows() / 60 < 25
    # Turning the wheel to the left turns the car to the left.
    yaw = drive.signals["Vehicle.AngularVelocity.Yaw"]
    wheel = drive.signals["Vehicle.Chassis.SteeringWheel.Angle"]
    turned = np.interp(yaw.times_ns, wheel.times_ns, wheel.values.astype(np.float64))
    assert np.corrcoef(yaw.values.astype(np.float64), turned)[0, 1] > 0.6
    world = RecordedDrive(drive)
    sent = 0
    for stretch in world.stretches("demo", "real", b"12345678"):
        checked = validate(stretch.batch, CATALOGUE, 1_600_000_000_000_000_000)
        assert checked.dropped == ()
        sent += stretch.batch.frames()
    assert sent == world.frames == 6256
    assert set(read_segment(SEGMENT)) == set(drive.signals)

"""Reading bytes without decoding them agrees with decoding and checking them, whatever the bytes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.validation import BatchError, validate
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.lowering import lower
from fleetloop.triggerlang.program import Condition, compile_program
from fleetloop.triggerlang.reading import Reader

CATALOGUE = load_catalogue(Path(__file__).parents[4] / "config" / "signals.yaml")
EXPRESSION = (
    'Vehicle.Speed > 3 km/h and Autopilot.Engaged and Map.Feature == "stop_sign" and Map.SpeedLimit > 0 km/h '
    "and Vehicle.TraveledDistance > 1 km and Vehicle.Powertrain.Transmission.CurrentGear > 1 "
    'and any_track(Perception.Tracks, Class == "car" and Score > 0.5)'
)
PROGRAM = compile_program([Condition("t", EXPRESSION, {})], CATALOGUE, 60)
LOWERED = lower(PROGRAM, CATALOGUE)
COLUMNS = set(LOWERED.columns)
FUTURE = 2**63


def batch(rng: np.random.Generator) -> FrameBatch:
    """A batch that a vehicle may send: rates that differ, a list of tracks, a column that no trigger reads."""
    frames, fixes, lists = (int(n) for n in rng.integers(1, 12, 3))
    offsets = np.sort(rng.integers(0, 10**10, frames))
    own = np.sort(rng.integers(0, 10**10, fixes))
    seen = np.sort(rng.integers(0, 10**10, lists))
    splits = np.concatenate([[0], np.cumsum(rng.integers(0, 4, lists))]).astype(np.uint32)
    tracks = int(splits[-1])
    limit = rng.uniform(0, 200, fixes).astype(np.float32)
    limit[rng.random(fixes) < 0.3] = np.nan
    columns = {
        "Vehicle.Speed": Column(rng.uniform(-50, 400, frames).astype(np.float32)),
        "Autopilot.Engaged": Column(rng.random(frames) < 0.5),
        "Vehicle.Acceleration.Lateral": Column(rng.uniform(-9, 9, frames).astype(np.float32)),
        "Map.Feature": Column(
            rng.integers(0, 3, fixes).astype(np.uint16), own, dictionary=("none", "stop_sign", "traffic_light")
        ),
        "Map.SpeedLimit": Column(limit, own),
        "Vehicle.TraveledDistance": Column(rng.uniform(0, 10**6, fixes), own),
        "Vehicle.Powertrain.Transmission.CurrentGear": Column(rng.integers(-1, 9, frames).astype(np.int32)),
        "Perception.Tracks.Id": Column(rng.integers(0, 9, tracks), seen, splits),
        "Perception.Tracks.Class": Column(
            rng.integers(0, 7, tracks).astype(np.uint16), seen, splits, CATALOGUE["Perception.Tracks.Class"].values
        ),
        "Perception.Tracks.Score": Column(rng.random(tracks).astype(np.float32), seen, splits),
    }
    kept = {path: c for path, c in columns.items() if rng.random() < 0.9}
    return FrameBatch(
        "fleet", f"vehicle-{rng.integers(99)}", rng.bytes(16), int(rng.integers(1000)), int(rng.integers(10**15)),
        10**18, "gnss", offsets, kept, "0123456789abcdef" * 4, "",
    )  # fmt: skip


def decoded(raw: bytes) -> FrameBatch | None:
    """What the ordinary way makes of bytes, None where it refuses them."""
    try:
        message = telemetry_pb2.TelemetryBatch.FromString(raw)
        return validate(decode_batch(message, COLUMNS), CATALOGUE, FUTURE).batch
    except (DecodeError, BatchError):
        return None


def assert_same(raw: bytes) -> bool:
    """Where bytes are plain, they are what decoding says; returns whether they are."""
    read = Reader(LOWERED, CATALOGUE).read([raw])
    if not read.plain[0]:
        return False
    expected = decoded(raw)
    assert expected is not None, "read as plain, though the catalogue refuses it"
    assert int(read.sequence[0]) == expected.sequence
    assert int(read.start_ns[0]) == expected.start_monotonic_ns
    assert int(read.utc_ns[0]) == expected.start_utc_ns
    assert int(read.frames[0]) == expected.frames()
    for number, path in enumerate(LOWERED.columns):
        at, rows, offsets_at, splits_at = (int(x) for x in read.pieces[0, number])
        column = expected.columns.get(path)
        assert (at >= 0) == (column is not None), path
        if column is None:
            continue
        assert rows == column.rows()
        values = np.frombuffer(raw, column.values.dtype, len(column.values), at)
        np.testing.assert_array_equal(values, column.values)
        assert (offsets_at >= 0) == (column.offsets_ns is not None)
        if column.offsets_ns is not None:
            np.testing.assert_array_equal(np.frombuffer(raw, np.int64, rows, offsets_at), column.offsets_ns)
        if column.splits is not None:
            np.testing.assert_array_equal(np.frombuffer(raw, np.uint32, rows + 1, splits_at), column.splits)
    return True


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_what_vehicles_send_is_plain_and_read_as_it_was_meant(seed: int) -> None:
    sent = batch(np.random.default_rng(seed))
    raw = encode_batch(sent).SerializeToString()
    if "Perception.Tracks.Id" in sent.columns or not any("Tracks" in path for path in sent.columns):
        assert assert_same(raw)
    else:
        assert_same(raw)


@settings(max_examples=600, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from(["flip", "cut", "add", "swap"]))
def test_no_bytes_are_plain_that_the_catalogue_refuses(seed: int, times: int, how: str) -> None:
    rng = np.random.default_rng(seed)
    raw = bytearray(encode_batch(batch(rng)).SerializeToString())
    for _ in range(times):
        position = int(rng.integers(len(raw)))
        if how == "flip":
            raw[position] = int(rng.integers(256))
        elif how == "cut":
            del raw[position : position + int(rng.integers(1, 9))]
        elif how == "add":
            raw[position:position] = rng.bytes(int(rng.integers(1, 9)))
        else:
            other = int(rng.integers(len(raw)))
            raw[position], raw[other] = raw[other], raw[position]
        if not raw:
            return
    assert_same(bytes(raw))


@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("Vehicle.Speed", Column(np.array([1, np.nan, 2], np.float32))),
        ("Vehicle.Speed", Column(np.array([1, 401, 2], np.float32))),
        ("Vehicle.Speed", Column(np.array([1, 2], np.float32))),
        ("Vehicle.Speed", Column(np.array([1, 2, 3], np.float64))),
        ("Vehicle.Speed", Column(np.array([1, 2], np.float32), np.array([5, 4]))),
        ("Vehicle.Speed", Column(np.array([1, 2], np.float32), np.array([-1, 4]))),
        ("Vehicle.Speed", Column(np.array([1, 2], np.float32), np.array([0, 121 * 10**9]))),
        ("Map.Feature", Column(np.array([0, 1, 2], np.uint16), dictionary=("none", "traffic_light", "stop_sign"))),
        ("Map.Feature", Column(np.array([0, 1, 3], np.uint16), dictionary=("none", "stop_sign", "traffic_light"))),
        ("Map.SpeedLimit", Column(np.array([0, np.inf, 3], np.float32))),
    ],
)
def test_what_needs_a_second_look_is_not_plain(path: str, column: Column) -> None:
    offsets = np.array([0, 10**8, 2 * 10**8])
    sent = FrameBatch("f", "v", b"12345678", 0, 0, 0, "gnss", offsets, {path: column})
    raw = encode_batch(sent).SerializeToString()
    assert Reader(LOWERED, CATALOGUE).read([raw]).plain.tolist() == [False]


def test_columns_in_any_order_are_found() -> None:
    rng = np.random.default_rng(2)
    sent = batch(rng)
    while len(sent.columns) < 10:
        sent = batch(rng)
    raws = []
    for _ in range(20):
        paths = list(sent.columns)
        rng.shuffle(paths)
        mixed = encode_batch(sent)
        del mixed.columns[:]
        mixed.columns.extend(encode_batch(sent).columns[list(sent.columns).index(p)] for p in paths)
        raws.append(mixed.SerializeToString())
    read = Reader(LOWERED, CATALOGUE).read(raws)
    assert read.plain.all()
    assert len({tuple(row) for row in read.pieces[:, :, 1].tolist()}) == 1

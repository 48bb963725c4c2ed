"""A column message is divided into its fields, and each check of the catalogue can fail."""

from __future__ import annotations

import numpy as np
import pytest

from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.kernels.opcodes import Kind
from fleetloop.triggerlang.kernels.scan_column import (
    NOT_READ,
    REFUSED,
    dictionary_fits,
    offsets_of,
    parse_column,
    splits_fit,
    which_column,
    within,
)
from fleetloop.triggerlang.kernels.tables import PIECE_OFFSETS, PIECE_ROWS, PIECE_WIDTH

NAMES = np.frombuffer(b"Vehicle.SpeedMap.Feature", np.uint8)
NAME_AT = np.array([0, 13, 24])


def test_the_fields_of_a_column_are_where_protobuf_put_them() -> None:
    message = telemetry_pb2.Column(
        signal="S", type=telemetry_pb2.VALUE_TYPE_ENUM, values=b"vv", offsets_ns=b"o" * 8, dictionary=["red", "blue"]
    )
    raw = message.SerializeToString()
    found = parse_column(np.frombuffer(raw, np.uint8), 0, len(raw))
    assert found.well_formed
    assert raw[found.name : found.name + found.name_size] == b"S"
    assert raw[found.values : found.values + found.values_size] == b"vv"
    assert raw[found.offsets : found.offsets + found.offsets_size] == b"o" * 8
    assert (found.value_type, found.splits_size) == (telemetry_pb2.VALUE_TYPE_ENUM, 0)
    assert raw[found.dictionary : found.dictionary_end] == b"\x32\x03red\x32\x04blue"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x1a\x01v\x0a\x01S",
        b"\x0a\x01S\x0a\x01S",
        b"\x3a\x01x",
        b"\x0a\x05S",
        b"\x10\x80",
        b"\x0d\x01S",
        b"\x12\x01v",
    ],
    ids=["order", "repeated", "unknown field", "cut text", "cut number", "wire type", "number as text"],
)
def test_a_column_that_protobuf_would_not_write_is_refused(raw: bytes) -> None:
    assert not parse_column(np.frombuffer(raw, np.uint8), 0, len(raw)).well_formed


def found_columns(names: list[bytes], columns: np.ndarray, before: np.ndarray) -> list[int]:
    data = np.frombuffer(b"".join(names), np.uint8)
    at, found = 0, []
    for position, name in enumerate(names):
        found.append(which_column(data, at, len(name), position, NAMES, NAME_AT, columns, before))
        at += len(name)
    return found


def test_a_column_is_found_with_a_right_a_wrong_and_no_guess() -> None:
    names = [b"Vehicle.Speed", b"Map.Version", b"Map.Feature", b"Vehicle.SpeeD"]
    for guesses in ([0, -1, 1, -1], [1, 0, 0, 1], [-2, -2, -2, -2], [-1, -1, -1, -1]):
        columns, before = np.array(guesses), np.zeros((4, 2), np.int64)
        assert found_columns(names, columns, before) == [0, NOT_READ, 1, NOT_READ]
        assert columns.tolist() == [0, NOT_READ, 1, NOT_READ]
        assert before[:, 1].tolist() == [13, 11, 11, 13]


def test_a_name_that_is_no_text_is_refused_and_positions_may_run_out() -> None:
    empty = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    assert found_columns([b"\xff"], *empty) == [REFUSED]
    assert found_columns([b"Map.Feature"], *empty) == [1]


@pytest.mark.parametrize(
    ("kind", "dtype", "good", "bad"),
    [
        (Kind.FLOAT32, np.float32, [-1, 2], [-1.5, 2.5, np.nan, np.inf, -np.inf]),
        (Kind.FLOAT64, np.float64, [-1, 2], [-1.5, 2.5, np.nan, np.inf, -np.inf]),
        (Kind.INT32, np.int32, [-1, 2], [-2, 3]),
        (Kind.INT64, np.int64, [-1, 2], [-2, 3, 2**62]),
        (Kind.ENUM, np.uint16, [0, 1], [2]),
        (Kind.BOOL, np.uint8, [0, 1], [2, 255]),
    ],
)
def test_values_outside_the_catalogues_range_are_found(
    kind: Kind, dtype: type[np.generic], good: list[float], bad: list[float]
) -> None:
    def fits(values: list[float], nan_allowed: bool = False) -> bool:
        data = np.frombuffer(np.array(values, dtype).tobytes(), np.uint8)
        return within(data, 0, len(values), kind, -1.0, 2.0, nan_allowed, 2)

    assert fits(good)
    for value in bad:
        assert not fits([*good, value]), value
    if kind in (Kind.FLOAT32, Kind.FLOAT64):
        assert fits([np.nan], nan_allowed=True)
        assert not fits([np.inf], nan_allowed=True)


@pytest.mark.parametrize(
    ("splits", "fits"),
    [([0, 1, 3], True), ([0, 3], False), ([1, 2, 3], False), ([0, 2, 2], False), ([0, 4, 3], False)],
)
def test_splits_divide_all_values(splits: list[int], fits: bool) -> None:
    data = np.frombuffer(np.array(splits, np.uint32).tobytes(), np.uint8)
    assert splits_fit(data, 0, len(data), 2, 3) == fits


def test_a_dictionary_is_the_catalogues_or_left_out() -> None:
    expected = np.frombuffer(b"..red", np.uint8)
    data = np.frombuffer(b"redrod", np.uint8)
    assert dictionary_fits(data, 0, 3, expected, 2, 3)
    assert dictionary_fits(data, 0, 0, expected, 2, 3)
    assert not dictionary_fits(data, 3, 6, expected, 2, 3)
    assert not dictionary_fits(data, 0, 2, expected, 2, 3)


def test_equal_offsets_of_two_columns_have_one_position() -> None:
    data = np.frombuffer(np.array([1, 2, 1, 2, 2, 1], np.int64).tobytes(), np.uint8)
    pieces = np.full((2, PIECE_WIDTH), -1, np.int64)
    assert offsets_of(data, 16, 2, 9, pieces) == 16
    pieces[0] = 0
    pieces[0, PIECE_ROWS], pieces[0, PIECE_OFFSETS] = 2, 0
    assert offsets_of(data, 16, 2, 9, pieces) == 0
    assert offsets_of(data, 32, 2, 9, pieces) == REFUSED

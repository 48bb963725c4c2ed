"""Every way in which a batch can be wrong is refused by name, and what is right passes unchanged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import parse_catalogue
from fleetloop.domain.validation import BatchError, validate

CATALOGUE = parse_catalogue("""
version: 1
limits: {max_frames: 50, max_values: 100, max_columns: 10, max_span_s: 10, max_future_s: 2}
signals:
  Speed: {type: float32, unit: km/h, min: 0, max: 300}
  Gear: {type: int32, min: -1, max: 9}
  Lead: {type: float32, unit: m, min: 0, max: 200, nan_allowed: true}
  Braked: {type: bool}
  Light: {type: enum, values: [red, green]}
  Note: {type: string}
  T.Id: {type: int64, ragged: true}
  T.Score: {type: float32, ragged: true, min: 0, max: 1}
""")
NOW_NS = 1_000_000_000_000
F32, I64, U32 = np.float32, np.int64, np.uint32


def batch(**columns: Column) -> FrameBatch:
    offsets = np.array([0, 1, 1, 3], I64) * 100_000_000
    named = {name.replace("_", "."): column for name, column in columns.items()}
    return FrameBatch("f", "v", b"8 bytes.", 0, 5, NOW_NS - 10**9, "gnss", offsets, named)


def floats(*values: float) -> Column:
    return Column(np.array(values, F32))


def ragged(values: Any, splits: list[int], dtype: Any = F32) -> Column:
    return Column(np.array(values, dtype), splits=np.array(splits, U32))


GOOD = batch(
    Speed=floats(1, 2, 3, 300),
    Lead=floats(np.nan, 1, np.nan, 0),
    Braked=Column(np.array([True, False, True, False])),
    Gear=Column(np.array([1, 2], np.int32), offsets_ns=np.array([0, 10**9], I64)),
    Light=Column(np.array([1, 0, 1, 1], np.uint8), dictionary=("red", "green")),
    Note=Column(np.zeros(4, np.uint8), dictionary=("x",)),
    T_Id=ragged([1, 2, 1], [0, 2, 2, 3, 3], I64),
    T_Score=ragged([0.5, 1, 0], [0, 2, 2, 3, 3]),
)


def test_a_good_batch_passes_untouched() -> None:
    checked = validate(GOOD, CATALOGUE, NOW_NS)
    assert checked.batch is GOOD
    assert checked.dropped == ()


def test_unknown_signals_and_unknown_enum_values_are_dropped_by_name() -> None:
    given = batch(
        Speed=floats(1, 2, 3, 4),
        New=floats(np.nan, 0, 0, 0),
        Light=Column(np.zeros(4, np.uint8), dictionary=("violet", "red")),
    )
    checked = validate(given, CATALOGUE, NOW_NS)
    assert checked.dropped == ("New", "Light")
    assert set(checked.batch.columns) == {"Speed"}


def test_enum_codes_become_the_catalogues() -> None:
    given = batch(Light=Column(np.array([0, 1, 1, 0], np.uint8), dictionary=("green", "red")))
    light = validate(given, CATALOGUE, NOW_NS).batch.columns["Light"]
    assert light.dictionary == ("red", "green")
    assert light.values.tolist() == [1, 0, 0, 1]


def test_an_enum_without_a_dictionary_has_the_catalogues_codes() -> None:
    given = batch(Light=Column(np.array([0, 1, 1, 0], np.uint8)))
    assert validate(given, CATALOGUE, NOW_NS).batch.columns["Light"].dictionary == ("red", "green")
    with pytest.raises(BatchError, match="code"):
        validate(batch(Light=Column(np.array([0, 1, 2, 0], np.uint8))), CATALOGUE, NOW_NS)


def test_numbers_become_the_catalogues_type() -> None:
    given = batch(Speed=Column(np.array([1.5, 2, 3, 4], np.float64)), Gear=Column(np.arange(4, dtype=I64)))
    columns = validate(given, CATALOGUE, NOW_NS).batch.columns
    assert columns["Speed"].values.dtype == F32
    assert columns["Gear"].values.dtype == np.int32


OWN = np.array([0, 5, 4, 6], I64)
WRONG = [
    ("length", "columns[Speed].values", batch(Speed=floats(1, 2, 3))),
    ("length", "columns[Speed].values", batch(Speed=replace(floats(1, 2, 3), offsets_ns=OWN))),
    ("length", "columns[Speed].splits", batch(Speed=ragged([1], [0, 1, 1, 1, 1]))),
    ("length", "columns[T.Id].splits", batch(T_Id=Column(np.zeros(4, I64)))),
    ("length", "columns[T.Id].splits", batch(T_Id=ragged([1, 2], [0, 2, 1, 2, 2], I64))),
    ("length", "columns[T.Id].splits", batch(T_Id=ragged([1, 2], [0, 0, 0, 0, 3], I64))),
    (
        "length",
        "columns[T.Score].splits",
        batch(T_Id=ragged([1], [0, 1, 1, 1, 1], I64), T_Score=ragged([1], [0, 0, 1, 1, 1])),
    ),
    ("nan", "columns[Speed].values", batch(Braked=Column(np.ones(4, bool)), Speed=floats(1, np.nan, 3, 4))),
    ("range", "columns[Speed].values", batch(Speed=floats(1, -0.1, 3, 4))),
    ("range", "columns[Speed].values", batch(Speed=floats(1, np.inf, 3, 4))),
    ("range", "columns[Lead].values", batch(Lead=floats(1, np.nan, 3, 201))),
    (
        "range",
        "columns[T.Score].values",
        batch(T_Id=ragged([1, 2], [0, 0, 0, 0, 2], I64), T_Score=ragged([0, 1.5], [0, 0, 0, 0, 2])),
    ),
    ("length", "columns[T.Id]", batch(T_Score=ragged([0, 1], [0, 0, 0, 0, 2]))),
    ("type", "columns[Speed].dictionary", batch(Speed=replace(floats(1, 1, 1, 1), dictionary=("a", "b")))),
    ("type", "columns[Speed].dictionary", batch(Speed=replace(floats(*[np.nan] * 4), dictionary=("a",)))),
    ("size", "columns[Light].dictionary", batch(Light=Column(np.zeros(4, np.uint8), dictionary=("x" * 257,)))),
    ("size", "columns[Light].dictionary", batch(Light=Column(np.zeros(4, np.uint8), dictionary=("a\0b",)))),
    ("size", "columns", batch(**{"x" * 129: floats(1, 1, 1, 1)})),
    ("size", "columns", batch(**{"a\0b": floats(1, 1, 1, 1)})),
    ("range", "columns[Braked].values", batch(Braked=Column(np.array([0, 1, 2, 0], np.uint8).view(bool)))),
    ("range", "columns[Gear].values", batch(Gear=Column(np.array([0, 2**40, 0, 0], I64)))),
    (
        "range",
        "columns[Light].values",
        batch(Light=Column(np.full(4, 2, np.uint8), dictionary=("red", "green"))),
    ),
    ("type", "columns[Light]", batch(Light=floats(1, 1, 1, 1))),
    ("type", "columns[Braked]", batch(Braked=floats(1, 1, 1, 1))),
    ("type", "columns[Gear]", batch(Gear=floats(1, 1, 1, 1))),
    ("time", "columns[Speed].offsets_ns", batch(Speed=replace(floats(1, 2, 3, 4), offsets_ns=OWN))),
    ("time", "columns[Speed].offsets_ns", batch(Speed=replace(floats(1), offsets_ns=np.array([-1], I64)))),
    ("time", "frame_offsets_ns", replace(GOOD, frame_offsets_ns=np.array([0, 2, 1, 3], I64))),
    (
        "time",
        "frame_offsets_ns",
        replace(GOOD, start_utc_ns=0, frame_offsets_ns=np.array([0, 1, 2, 11], I64) * 10**9),
    ),
    ("time", "start_monotonic_ns", replace(GOOD, start_monotonic_ns=-1)),
    ("future", "start_utc_ns", replace(GOOD, start_utc_ns=NOW_NS + 2 * 10**9)),
    ("length", "frame_offsets_ns", replace(GOOD, frame_offsets_ns=np.array([], I64))),
    ("size", "frame_offsets_ns", replace(GOOD, frame_offsets_ns=np.arange(51))),
    ("size", "columns[T.Id].values", batch(T_Id=ragged(np.zeros(101), [0, 0, 0, 0, 101], I64))),
    ("size", "columns", batch(**{f"c{i}": floats(1) for i in range(11)})),
    ("identity", "vehicle_id", replace(GOOD, vehicle_id="")),
    ("identity", "boot_id", replace(GOOD, boot_id=b"short")),
    ("identity", "sequence", replace(GOOD, sequence=-1)),
    ("identity", "sequence", replace(GOOD, sequence=2**63)),
    ("identity", "model_digest", replace(GOOD, model_digest="é")),
    ("identity", "model_digest", replace(GOOD, model_digest="a" * 80_000)),
    ("identity", "shadow_model_digest", replace(GOOD, shadow_digest="A" * 64)),
    ("time", "start_utc_ns", replace(GOOD, start_utc_ns=-1)),
    ("time", "start_utc_ns", replace(GOOD, start_utc_ns=2**62)),
]


@pytest.mark.parametrize(("code", "field", "given"), WRONG)
def test_each_fault_is_refused_by_its_name(code: str, field: str, given: FrameBatch) -> None:
    with pytest.raises(BatchError) as caught:
        validate(given, CATALOGUE, NOW_NS)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert field in str(caught.value)

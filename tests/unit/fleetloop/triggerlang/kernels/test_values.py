"""Values survive the way into the pools and back, whatever their kind."""

from __future__ import annotations

import numpy as np
import pytest

from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, Kind, bytes_of
from fleetloop.triggerlang.kernels.values import filled, read_numbers, read_truths, write_numbers

DTYPES = {
    Kind.INT32: np.int32, Kind.INT64: np.int64, Kind.FLOAT32: np.float32, Kind.FLOAT64: np.float64,
    Kind.ENUM: np.uint16,
}  # fmt: skip


@pytest.mark.parametrize("kind", DTYPES)
def test_numbers_are_read_as_float64_and_written_back(kind: Kind) -> None:
    values = np.array([0, 1, 3, 250], DTYPES[kind])
    raw = np.frombuffer(b"\0" * 8 + values.tobytes(), np.uint8)
    pool = np.zeros(6)
    read_numbers(raw, 8, 4, kind, pool, 1)
    assert pool.tolist() == [0, 0, 1, 3, 250, 0]
    out = np.zeros(48, np.uint8)
    write_numbers(pool, 1, 4, kind, out, 8)
    assert out.tobytes() == raw.tobytes().ljust(48, b"\0")
    assert len(raw) == 8 + 4 * bytes_of(kind)


def test_bools_become_truth_values() -> None:
    pool = np.ones(3, np.int8)
    read_truths(np.array([9, 0, 1], np.uint8), 1, 2, pool, 0)
    assert pool.tolist() == [FALSE, TRUE, 1]


def test_filled_is_the_next_multiple_of_8() -> None:
    assert [filled(n) for n in (0, 1, 8, 9)] == [0, 8, 8, 16]

"""What is remembered of a vehicle is read as it was written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.triggerlang.kernels import Bytes, Ints, kernel
from fleetloop.triggerlang.kernels.remembered import (
    EDGE_BYTES,
    EDGE_HEAD_BYTES,
    points_of,
    read_edges,
    tail_of,
    write_edges,
)
from fleetloop.triggerlang.kernels.tables import TOPS


def round_trip(pairs: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """The pairs after writing and reading, where writing ended, and where reading did."""
    false_s, append_s = (np.array([p[i] for p in pairs], np.int32) for i in range(2))
    out = np.zeros(8 + EDGE_HEAD_BYTES + EDGE_BYTES * len(pairs), np.uint8)
    written = write_edges(false_s, append_s, out, 8)
    assert written <= len(out)
    read_s, read_append_s = np.zeros_like(false_s), np.zeros_like(append_s)
    end = read_edges(out, 8, len(out) - 8, read_s, read_append_s)
    return list(zip(read_s.tolist(), read_append_s.tolist(), strict=True)), written, end


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2**31 - 1)), max_size=20))
def test_edges_are_read_as_they_were_written(pairs: list[tuple[int, int]]) -> None:
    read, written, end = round_trip(pairs)
    assert read == pairs
    assert written == end


@pytest.mark.parametrize("count", [255, 256, 300])
def test_more_pairs_than_a_byte_can_number_are_read_too(count: int) -> None:
    pairs = [(i, 2 * i + 1) for i in range(count)]
    read, written, end = round_trip(pairs)
    assert read == pairs
    assert written == end


def test_equal_edges_take_a_byte_each() -> None:
    _, written, _ = round_trip([(5, 6)] * 100)
    assert written - 8 <= 4 + 8 + 100 + 8


def test_without_memory_nothing_was_false() -> None:
    false_s, append_s = np.zeros(2, np.int32), np.zeros(2, np.int32)
    assert read_edges(np.zeros(0, np.uint8), 0, 0, false_s, append_s) == 0
    assert false_s.tolist() == append_s.tolist() == [-1, -1]


@kernel
def tail_in(
    memory: Bytes, source: int, forget_ns: int, positions: Ints, tops: Ints
) -> tuple[int, int, int, int, int, int]:
    """Where the values begin, and the timeline, rows, dropped, kept and position of a source's tail."""
    points = points_of(memory, 8, len(memory) - 8, 2, 0, positions, tops)
    tail = tail_of(points, source, forget_ns, positions)
    return points.values_at, tail.timeline, tail.rows, tail.dropped, tail.kept, tail.at


@pytest.mark.parametrize(
    ("source", "forget_ns", "tail"),
    [(0, -1, (1, 2, 0, 2, 3)), (0, 21, (1, 2, 1, 1, 4)), (0, 31, (-1, 2, 2, 0, 5)), (1, -1, (-1, 0, 0, 0, 0))],
)
def test_the_tail_of_a_source_is_what_is_not_forgotten(source: int, forget_ns: int, tail: tuple[int, ...]) -> None:
    """Two timelines of 2 and 3 instants; source 0 has the last 2 of the second, source 1 nothing."""
    words = np.array([2, 2, 3, 1, 2, -1, 0], np.int32).tobytes().ljust(32, b"\0")
    times = np.array([10, 20, 11, 21, 31], np.int64).tobytes()
    memory = np.frombuffer(b"\0" * 8 + words + times, np.uint8)
    found = tail_in(memory, source, forget_ns, np.zeros(9, np.int64), np.zeros(TOPS, np.int64))
    assert found == (len(memory), *tail)

"""Pieces of the wire format agree with protobuf's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.kernels import Bytes
from fleetloop.triggerlang.kernels.wire import (
    ascii_only,
    int64_at,
    printable,
    rises,
    same_bytes,
    uint32_at,
    varint,
)


def raw(content: bytes) -> Bytes:
    return np.frombuffer(content, np.uint8)


@settings(deadline=None)
@given(st.integers(1, 2**63 - 1))
def test_a_varint_is_what_protobuf_wrote(value: int) -> None:
    data = raw(telemetry_pb2.TelemetryBatch(sequence=value).SerializeToString())
    assert varint(data, 1, len(data)) == (value, len(data))


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01"], ids=["empty", "cut", "two spellings", "too long"]
)
def test_a_varint_that_protobuf_would_not_write_is_refused(content: bytes) -> None:
    data = raw(content)
    assert varint(data, 0, len(data))[0] == -1


def test_numbers_are_little_endian() -> None:
    assert int64_at(raw(b"\x00" + (-5).to_bytes(8, "little", signed=True)), 1) == -5
    assert uint32_at(raw(b"\x00" + (2**32 - 1).to_bytes(4, "little")), 1) == 2**32 - 1


@pytest.mark.parametrize(
    ("offsets", "fine"), [([], True), ([0, 0, 9], True), ([0, 5, 4], False), ([-1, 5], False), ([0, 10], False)]
)
def test_offsets_rise_from_0_to_the_longest(offsets: list[int], fine: bool) -> None:
    assert rises(raw(np.array(offsets, np.int64).tobytes()), 0, len(offsets), 9) == fine


def test_text_is_told_from_other_bytes() -> None:
    assert printable(raw(b"v-1 ~"), 0, 5)
    assert not printable(raw(b"v\n"), 0, 2)
    assert not printable(raw(b"\x7f"), 0, 1)
    assert not printable(raw(b""), 0, 0)
    assert printable(raw(b"v" * 129), 0, 128)
    assert not printable(raw(b"v" * 129), 0, 129)
    assert ascii_only(raw(b"\x00\x7f"), 0, 2)
    assert not ascii_only(raw("ä".encode()), 0, 2)


def test_equal_stretches_are_found() -> None:
    data = raw(b"abcabd")
    assert same_bytes(data, 0, 3, 2)
    assert not same_bytes(data, 0, 3, 3)

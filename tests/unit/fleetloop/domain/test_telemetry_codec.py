"""What is sent is what arrives, and bytes that cannot be values are refused by their field's name."""

from __future__ import annotations

import numpy as np
import pytest

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.validation import BatchError
from fleetloop.protos.telemetry.v1 import telemetry_pb2

BATCH = FrameBatch(
    "f", "v", b"12345678", 7, 10, 20, "simulated", np.array([0, 5], np.int64),
    {
        "F": Column(np.array([1.5, np.nan], np.float32)),
        "D": Column(np.array([1e-9, 2]), offsets_ns=np.array([0, 3], np.int64)),
        "I": Column(np.array([-1, 2], np.int32)),
        "B": Column(np.array([True, False])),
        "E": Column(np.array([1, 0], np.uint8), dictionary=("a", "b")),
        "T.Id": Column(np.array([4, 5, 6], np.int64), splits=np.array([0, 2, 3], np.uint32)),
    },
    "active", "silent",
)  # fmt: skip


def test_a_batch_survives_the_wire() -> None:
    wire = encode_batch(BATCH).SerializeToString()
    back = decode_batch(telemetry_pb2.TelemetryBatch.FromString(wire))
    for name in ("fleet_id", "vehicle_id", "boot_id", "sequence", "start_monotonic_ns", "start_utc_ns", "utc_source"):
        assert getattr(back, name) == getattr(BATCH, name)
    assert (back.model_digest, back.shadow_digest) == ("active", "silent")
    assert back.frame_offsets_ns.tolist() == [0, 5]
    assert set(back.columns) == set(BATCH.columns)
    for path, column in BATCH.columns.items():
        found = back.columns[path]
        np.testing.assert_array_equal(found.values, column.values)
        assert found.dictionary == column.dictionary
        for name in ("offsets_ns", "splits"):
            np.testing.assert_array_equal(getattr(found, name), getattr(column, name))
    assert back.columns["F"].values.dtype == np.float32


def test_only_the_wanted_columns_are_looked_at() -> None:
    message = encode_batch(BATCH)
    message.columns[0].values = b"odd"
    assert set(decode_batch(message, {"I"}).columns) == {"I"}
    with pytest.raises(BatchError, match="whole number") as caught:
        decode_batch(message)
    assert caught.value.field == "columns[F].values"


def test_faults_of_form_are_named() -> None:
    message = encode_batch(BATCH)
    message.columns[1].type = telemetry_pb2.VALUE_TYPE_UNSPECIFIED
    with pytest.raises(BatchError) as caught:
        decode_batch(message)
    assert caught.value.field == "columns[D].type"
    twice = encode_batch(BATCH)
    twice.columns.append(twice.columns[0])
    with pytest.raises(BatchError, match="twice"):
        decode_batch(twice)
    with pytest.raises(BatchError, match="no type"):
        encode_batch(FrameBatch("f", "v", b"12345678", 0, 0, 0, "gnss", np.zeros(1, np.int64),
                               {"X": Column(np.zeros(1, np.float16))}))  # fmt: skip

"""Translates telemetry between protobuf messages and arrays; columns of little-endian bytes are not copied.

Every service that reads telemetry decodes it here, so that all of them agree on what the bytes mean. Only what
would make the bytes unreadable is checked; `fleetloop.domain.validation` checks the rest against the catalogue.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.validation import BatchError
from fleetloop.protos.telemetry.v1 import telemetry_pb2

_DTYPES: dict[telemetry_pb2.ValueType.ValueType, np.dtype[Any]] = {
    telemetry_pb2.VALUE_TYPE_BOOL: np.dtype("?"),
    telemetry_pb2.VALUE_TYPE_INT32: np.dtype("<i4"),
    telemetry_pb2.VALUE_TYPE_INT64: np.dtype("<i8"),
    telemetry_pb2.VALUE_TYPE_FLOAT32: np.dtype("<f4"),
    telemetry_pb2.VALUE_TYPE_FLOAT64: np.dtype("<f8"),
    telemetry_pb2.VALUE_TYPE_ENUM: np.dtype("<u2"),
}
_OFFSETS = np.dtype("<i8")
_SPLITS = np.dtype("<u4")
_UTC_SOURCES = {
    telemetry_pb2.UTC_SOURCE_GNSS: "gnss",
    telemetry_pb2.UTC_SOURCE_NTP: "ntp",
    telemetry_pb2.UTC_SOURCE_LOCAL: "local",
    telemetry_pb2.UTC_SOURCE_SIMULATED: "simulated",
}
_UTC_CODES = {name: code for code, name in _UTC_SOURCES.items()} | {"none": telemetry_pb2.UTC_SOURCE_LOCAL}


def decode_batch(message: telemetry_pb2.TelemetryBatch, only: Container[str] | None = None) -> FrameBatch:
    """Decode the batch in a message. Its arrays share the message's bytes and are read-only.

    With `only`, columns of other signals are skipped without being checked.
    Raises BatchError (code `length`, `type` or `identity`) that names the field whose bytes cannot be read.
    """
    columns: dict[str, Column] = {}
    for column in message.columns:
        signal = column.signal
        if only is not None and signal not in only:
            continue
        if signal in columns:
            raise BatchError("length", f"columns[{signal}]", "is given twice; send each signal once per batch")
        dtype = _DTYPES.get(column.type)
        if dtype is None:
            raise BatchError("type", f"columns[{signal}].type", "is not given or not known; see ValueType")
        values = _array(column.values, dtype, signal, "values")
        offsets, splits = column.offsets_ns, column.splits
        columns[signal] = Column(
            values,
            _array(offsets, _OFFSETS, signal, "offsets_ns") if offsets else None,
            _array(splits, _SPLITS, signal, "splits") if splits else None,
            tuple(column.dictionary) if column.dictionary else (),
        )
    source = _UTC_SOURCES.get(message.utc_source)
    if source is None:
        raise BatchError("identity", "utc_source", "is not given; say where the estimate of UTC comes from")
    if len(message.frame_offsets_ns) % 8:
        raise BatchError("length", "frame_offsets_ns", "is not a whole number of int64 values")
    return FrameBatch(
        fleet_id=message.fleet_id,
        vehicle_id=message.vehicle_id,
        boot_id=message.boot_id,
        sequence=message.sequence,
        start_monotonic_ns=message.start_monotonic_ns,
        start_utc_ns=message.start_utc_ns,
        utc_source=source,
        frame_offsets_ns=np.frombuffer(message.frame_offsets_ns, _OFFSETS),
        columns=columns,
        model_digest=message.model_digest,
        shadow_digest=message.shadow_model_digest,
    )


def encode_batch(batch: FrameBatch) -> telemetry_pb2.TelemetryBatch:
    """Encode a batch as a message. Raises BatchError when the message has no type for one of its values."""
    columns = [_encode_column(signal, column) for signal, column in batch.columns.items()]
    if batch.utc_source not in _UTC_CODES:
        raise BatchError("identity", "utc_source", f"{batch.utc_source!r} is none of {', '.join(_UTC_CODES)}")
    return telemetry_pb2.TelemetryBatch(
        fleet_id=batch.fleet_id,
        vehicle_id=batch.vehicle_id,
        boot_id=batch.boot_id,
        sequence=batch.sequence,
        start_monotonic_ns=batch.start_monotonic_ns,
        start_utc_ns=batch.start_utc_ns,
        utc_source=_UTC_CODES[batch.utc_source],
        frame_offsets_ns=batch.frame_offsets_ns.astype(_OFFSETS, copy=False).tobytes(),
        columns=columns,
        model_digest=batch.model_digest,
        shadow_model_digest=batch.shadow_digest,
    )


def _array(raw: bytes, dtype: np.dtype[Any], signal: str, part: str) -> npt.NDArray[Any]:
    if len(raw) % dtype.itemsize:
        raise BatchError(
            "length",
            f"columns[{signal}].{part}",
            f"has {len(raw)} bytes, which are no whole number of {dtype.itemsize}-byte values",
        )
    return np.frombuffer(raw, dtype)


def _encode_column(signal: str, column: Column) -> telemetry_pb2.Column:
    kind, dtype = _wire_type(signal, column)
    encoded = telemetry_pb2.Column(
        signal=signal,
        type=kind,
        values=column.values.astype(dtype, copy=False).tobytes(),
        dictionary=column.dictionary,
    )
    if column.offsets_ns is not None:
        encoded.offsets_ns = column.offsets_ns.astype(_OFFSETS, copy=False).tobytes()
    if column.splits is not None:
        encoded.splits = column.splits.astype(_SPLITS, copy=False).tobytes()
    return encoded


def _wire_type(signal: str, column: Column) -> tuple[telemetry_pb2.ValueType.ValueType, np.dtype[Any]]:
    dtype = column.values.dtype
    if column.dictionary or dtype.kind == "u":
        largest = int(column.values.max()) if dtype.kind == "u" and len(column.values) else 0
        if dtype.kind == "u" and largest < 65_536:
            return telemetry_pb2.VALUE_TYPE_ENUM, _DTYPES[telemetry_pb2.VALUE_TYPE_ENUM]
        raise BatchError(
            "type", f"columns[{signal}]", f"the wire has no type for codes of {dtype}: unsigned, below 65536"
        )
    for kind, wire in _DTYPES.items():
        if wire == dtype:
            return kind, wire
    raise BatchError(
        "type",
        f"columns[{signal}]",
        f"the wire has no type for {dtype}",
    )

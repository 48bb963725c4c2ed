"""What a batch must have to be plain, field by field; `test_reading` compares whole batches with decoding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.fleetloop.triggerlang.evaluation import batch, machine_of, numbers, tracks

from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.program import Condition

_, READER = machine_of(Condition("c", "X > 1 and any_track(T, Score > 1 and Seen)", {}))
Message = telemetry_pb2.TelemetryBatch


def message() -> Message:
    columns = {"X": numbers(1, 2), **tracks({1: (2, True)}, {1: (2, True), 2: (3, False)})}
    return encode_batch(batch(columns))


def is_plain(sent: Message) -> bool:
    return bool(READER.read([sent.SerializeToString()]).plain[0])


def test_an_ordinary_batch_is_plain() -> None:
    assert is_plain(message())


SPOILT: dict[str, Callable[[Message], object]] = {
    "no fleet": lambda m: m.ClearField("fleet_id"),
    "no vehicle": lambda m: m.ClearField("vehicle_id"),
    "no boot": lambda m: m.ClearField("boot_id"),
    "no source of UTC": lambda m: m.ClearField("utc_source"),
    "no frames": lambda m: m.ClearField("frame_offsets_ns"),
    "short boot": lambda m: setattr(m, "boot_id", b"1234567"),
    "long boot": lambda m: setattr(m, "boot_id", b"1" * 17),
    "line break in a name": lambda m: setattr(m, "vehicle_id", "a\nb"),
    "letter that is not ASCII in a digest": lambda m: setattr(m, "model_digest", "ä"),
    "time before zero": lambda m: setattr(m, "start_monotonic_ns", -1),
    "time that overflows": lambda m: setattr(m, "start_monotonic_ns", 2**62),
    "unknown source of UTC": lambda m: setattr(m, "utc_source", 5),
    "column twice": lambda m: m.columns.append(m.columns[0]),
    "lists of other lengths": lambda m: setattr(column(m, "T.Score"), "splits", b"\0\0\0\0\2\0\0\0\3\0\0\0"),
    "group without its ids": lambda m: m.columns.remove(column(m, "T.Id")),
}


def column(sent: Message, signal: str) -> telemetry_pb2.Column:
    return next(c for c in sent.columns if c.signal == signal)


@pytest.mark.parametrize("how", SPOILT)
def test_a_batch_that_needs_the_ordinary_decoding_is_not_plain(how: str) -> None:
    sent = message()
    SPOILT[how](sent)
    assert not is_plain(sent)

"""Every fault has a code on the wire, and a clip that comes again is announced in the same words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fleetloop.domain.validation
from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway import metrics
from telemetry_gateway.codec import ERROR_CODES, clip_event, command_of, rejection, repeated_announcement, stored_clip
from telemetry_gateway.model import Clip

CLIP = Clip("a" * 64, 100, "fleet", "car", b"12345678", 1, 2, ("front",), "command", "firing", "b" * 64)


def test_every_code_that_the_check_raises_has_a_code_on_the_wire() -> None:
    source = Path(fleetloop.domain.validation.__file__).read_text()
    raised = set(re.findall(r'BatchError\(\s*"(\w+)"', source))
    assert raised
    assert raised <= set(ERROR_CODES)
    answer = rejection(b"boot", 7, BatchError("nan", "columns[Speed].values", "has NaN"))
    assert answer.status == telemetry_pb2.BATCH_STATUS_REJECTED
    assert (answer.boot_id, answer.sequence, answer.error.field) == (b"boot", 7, "columns[Speed].values")
    assert answer.error.code == telemetry_pb2.BATCH_ERROR_CODE_BAD_VALUE


def test_a_clip_that_comes_again_is_announced_in_the_same_words() -> None:
    first = stored_clip(CLIP, "fleet/clips/x", 99)
    assert clip_event(repeated_announcement(first, CLIP)) == clip_event(first)
    assert first.provenance.clip_id == CLIP.sha256
    other = repeated_announcement(first, Clip("a" * 64, 1, "fleet", "car", b"other666", 5, 6, (), "c2", "f2"))
    assert (other.provenance.firing_id, other.command_id, other.start_utc_ns) == ("f2", "c2", 1)
    assert other.event_id != first.event_id


def test_a_command_that_nobody_could_carry_out_is_unreadable() -> None:
    good = command_pb2.VehicleCommand(command_id="c", vehicle_id="v", expires_at_utc_ns=5, attempt=2)

    def read(value: bytes) -> object:
        return command_of(Record("t", 0, 0, b"v", value, [], 0))

    standing = command_of(Record("t", 0, 0, b"v", good.SerializeToString(), [], 0))
    assert (standing.command_id, standing.attempt, standing.expires_at_utc_ns) == ("c", 2, 5)
    for field in ("command_id", "vehicle_id", "expires_at_utc_ns"):
        bad = command_pb2.VehicleCommand()
        bad.CopyFrom(good)
        bad.ClearField(field)
        with pytest.raises(UnreadableMessageError, match=field):
            read(bad.SerializeToString())
    with pytest.raises(UnreadableMessageError):
        read(b"\xff\xff")


def test_names_of_dropped_columns_are_bounded() -> None:
    for number in range(metrics._MOST_NAMES + 20):
        metrics.count_dropped(f"Signal{number}")
    names = {sample.labels["signal"] for family in metrics.DROPPED_COLUMNS.collect() for sample in family.samples}
    assert len(names) <= metrics._MOST_NAMES + 1
    assert "other" in names

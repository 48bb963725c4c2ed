"""A batch or a report that the gateway accepts, detector, archiver and monitor can compute with and store."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from tests.messages import messages

from fleet_monitor.codec import from_bytes, report_of, to_bytes, totals_of
from fleet_monitor.core import Selection, add, compare
from fleet_monitor.model import VehicleRecord
from fleetloop.domain.archive_files import write_file
from fleetloop.domain.signals import Signal, SignalCatalogue, load_catalogue
from fleetloop.domain.telemetry_codec import decode_batch
from fleetloop.domain.topics import CAMPAIGN, COMMAND, HEALTH, TELEMETRY
from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.events import EventTooLargeError
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.trigger import parse_trigger
from telemetry_archiver.codec import arrival_of
from telemetry_archiver.core import OpenFile
from telemetry_archiver.model import SeenBatches
from telemetry_gateway.arrival_time import DeferredError
from telemetry_gateway.codec import command_of, command_response, rejection, report_event
from telemetry_gateway.intake import Intake, Outage
from telemetry_gateway.model import FieldError, Sender
from trigger_detector.codec import campaign_of
from trigger_detector.model import CampaignRevision, Limits
from trigger_detector.partition import Partition, event_of_firing, process_records
from trigger_detector.plan import Plan, make_plan, plan_of

CONFIG = Path(__file__).parents[2] / "config"
CATALOGUE: SignalCatalogue = load_catalogue(CONFIG / "signals.yaml")
CLOCK = ManualClock()
SENDER = Sender("demo", "car-1")
_KINDS = {
    "bool": (telemetry_pb2.VALUE_TYPE_BOOL, "?"), "int32": (telemetry_pb2.VALUE_TYPE_INT32, "<i4"),
    "int64": (telemetry_pb2.VALUE_TYPE_INT64, "<i8"), "float32": (telemetry_pb2.VALUE_TYPE_FLOAT32, "<f4"),
    "float64": (telemetry_pb2.VALUE_TYPE_FLOAT64, "<f8"), "enum": (telemetry_pb2.VALUE_TYPE_ENUM, "<u2"),
    "string": (telemetry_pb2.VALUE_TYPE_ENUM, "<u2"),
}  # fmt: skip


@cache
def plan() -> Plan:
    """The shipped triggers that read the most: tracks, maps, windows."""
    library = sorted((CONFIG / "triggers" / "library").glob("*.yaml"))[:12]
    files = [*library, *sorted((CONFIG / "triggers").glob("*.yaml"))]
    triggers = tuple(parse_trigger(file.read_text()) for file in files)
    made, _ = make_plan([(CampaignRevision("c", 1, True, triggers), 0)], CATALOGUE, Limits())
    return made


SCALARS = sorted(path for path, signal in CATALOGUE.signals.items() if not signal.ragged)
GROUPS = sorted({signal.group() for signal in CATALOGUE.signals.values() if signal.ragged})


def _column(draw: st.DrawFn, signal: Signal, frames: int, splits: list[int] | None) -> telemetry_pb2.Column:
    """A column that the catalogue accepts, with values at the ends of their range."""
    code, dtype = _KINDS[signal.kind]
    count = frames if splits is None else splits[-1]
    words = list(signal.values) if signal.kind == "enum" else ["a", "é", "x" * 256] if signal.kind == "string" else []
    if words:
        pool: list[float] = [0, len(words) - 1]
    elif signal.kind == "bool":
        pool = [0, 1]
    else:
        low, high = max(signal.minimum, -1e9), min(signal.maximum, 1e9)
        pool = [low, high, (low + high) / 2, *([np.nan] if signal.nan_allowed else [])]
    values = np.array(draw(st.lists(st.sampled_from(pool), min_size=count, max_size=count)), np.float64)
    made = telemetry_pb2.Column(
        signal=signal.path, type=code, values=values.astype(dtype).tobytes(), dictionary=words
    )  # fmt: skip
    if splits is not None:
        made.splits = np.array(splits).astype("<u4").tobytes()
    return made


def _spoil(draw: st.DrawFn, made: list[telemetry_pb2.Column], frames: int) -> None:
    """One fault in one column."""
    column = draw(st.sampled_from(made))
    match draw(st.integers(0, 9)):
        case 0:
            del made[made.index(column)]
        case 1:
            column.dictionary.extend(["a", "b"])
        case 2:
            del column.dictionary[:]
        case 3:
            column.splits = np.arange(frames + 1).astype("<u4").tobytes()
        case 4:
            column.splits = b""
        case 5:
            column.type = draw(st.sampled_from([code for code, _ in _KINDS.values()]))
        case 6:
            column.values = draw(st.binary(max_size=64))
        case 7:
            column.offsets_ns = (
                (np.arange(frames) * draw(st.sampled_from([0, 1, 10**9, 2**60]))).astype("<i8").tobytes()
            )
        case 8:
            column.signal = draw(st.sampled_from(["Not.Known", "", "x" * 200, "a\0b"]))
        case 9:
            column.values = b"\xff" * len(column.values)


@st.composite
def batches(draw: st.DrawFn) -> telemetry_pb2.TelemetryBatch:
    frames = draw(st.integers(1, 5))
    message = telemetry_pb2.TelemetryBatch()
    if draw(st.integers(0, 4)) == 0:
        message = draw(messages(telemetry_pb2.TelemetryBatch, wild=True))
        del message.columns[:]
    message.fleet_id, message.vehicle_id = SENDER.fleet_id, SENDER.vehicle_id
    message.boot_id = message.boot_id or b"12345678"
    message.utc_source = message.utc_source or telemetry_pb2.UTC_SOURCE_GNSS
    message.frame_offsets_ns = (np.arange(frames) * 10**8).astype("<i8").tobytes()
    utc_ns = [0, 1, CLOCK.utc_ns - 10**9, 2**62 - 1, 2**62, CLOCK.utc_ns + 10**15]
    message.start_utc_ns = message.start_utc_ns or draw(st.sampled_from(utc_ns))
    message.sequence = message.sequence or draw(st.sampled_from([0, 7, 2**63 - 1, 2**63]))
    made = [
        _column(draw, CATALOGUE.signals[path], frames, None)
        for path in sorted(draw(st.sets(st.sampled_from(SCALARS), max_size=8)))
    ]
    for group in sorted(draw(st.sets(st.sampled_from(GROUPS), max_size=2))):
        splits = np.cumsum([0, *draw(st.lists(st.integers(0, 3), min_size=frames, max_size=frames))]).tolist()
        members = [signal for signal in CATALOGUE.signals.values() if signal.ragged and signal.group() == group]
        made += [_column(draw, signal, frames, splits) for signal in members]
    spoiled: bool = draw(st.booleans())
    if made and spoiled:
        _spoil(draw, made, frames)
    message.columns.extend(made)
    return message


class Line:
    async def enqueue(self, event: object) -> Any:
        raise NotImplementedError


def intake() -> Intake:
    return Intake(Line(), CATALOGUE, CLOCK, Outage(), max_batch_bytes=520_192, spans_per_s=0)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches())
def test_an_accepted_batch_is_evaluated_and_archived(message: telemetry_pb2.TelemetryBatch) -> None:
    try:
        prepared = intake().prepare(message, SENDER, "stream")
    except BatchError as error:
        assert rejection(message.boot_id, message.sequence, error).error.message
        return
    except DeferredError:
        return
    payload = prepared.event.payload
    records = [Record(TELEMETRY, 0, 0, b"car-1", payload, [], 1000)]
    outcome = process_records(Partition(0), records, plan(), CATALOGUE)
    assert outcome.unreadable == (), "the detector reads it"
    for firing, record in outcome.firings:
        assert event_of_firing(firing, record, CLOCK).payload
    arrival, problem = arrival_of(records[0])
    assert problem is None, "the archiver reads it"
    file = OpenFile(0, SeenBatches())
    assert file.fits(arrival) and file.add(arrival)
    assert write_file(file.batches, file.footer(), file.appended_ms)


def _accepted_with_columns(message: telemetry_pb2.TelemetryBatch) -> bool:
    try:
        return len(decode_batch(telemetry_pb2.TelemetryBatch.FromString(
            intake().prepare(message, SENDER, "stream").event.payload)).columns) >= 3  # fmt: skip
    except (BatchError, DeferredError):
        return False


def test_the_batches_above_are_not_all_refused() -> None:
    assert len(find(batches(), _accepted_with_columns).columns) >= 3


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages(health_pb2.VehicleReport, wild=True), min_size=1, max_size=4))
def test_an_accepted_report_is_counted(reports: list[health_pb2.VehicleReport]) -> None:
    record = VehicleRecord()
    for report in reports:
        report.vehicle_id = "car-1"
        report.boot_id = report.boot_id if 8 <= len(report.boot_id) <= 16 else b"12345678"
        report.end_utc_ns = max(report.end_utc_ns, report.start_utc_ns)
        try:
            event = report_event(report, CLOCK.utc_ns)
        except (FieldError, RefusedError):
            continue
        message = health_pb2.VehicleReport.FromString(event.payload)
        record = add(record, report_of(message, 60, CLOCK.utc_ns), 30 * 86_400, 86_400)
    assert from_bytes(to_bytes(record)) == record
    for where, (sums, vehicles) in compare([("car-1", record)], Selection()).items():
        assert totals_of(where, sums, vehicles).SerializeToString()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages(campaign_pb2.Campaign))
def test_a_campaign_is_planned_or_refused_by_name(message: campaign_pb2.Campaign) -> None:
    for trigger in message.triggers:
        trigger.name = trigger.name or "t"
    record = Record(CAMPAIGN, 0, 0, b"c", message.SerializeToString(), [], 0)
    try:
        revision, problems = campaign_of(record)
    except UnreadableMessageError:
        return
    made, refused = plan_of([(revision, 0)], CATALOGUE, Limits())
    known = {active.trigger.name for active in made.actives} | {problem.trigger for problem in refused}
    assert {trigger.name for trigger in revision.triggers if revision.running} <= known
    assert len(problems) + len(revision.triggers) == len(message.triggers)


@settings(max_examples=200, deadline=None)
@given(messages(command_pb2.VehicleCommand, wild=True))
def test_a_command_is_delivered_or_refused(message: command_pb2.VehicleCommand) -> None:
    record = Record(COMMAND, 0, 0, b"car", message.SerializeToString(), [], 0)
    try:
        command = command_of(record)
    except UnreadableMessageError:
        return
    assert command_response(command).command == message


def test_a_batch_and_a_report_outside_their_bounds_are_refused_by_field() -> None:
    batch = telemetry_pb2.TelemetryBatch(
        fleet_id=SENDER.fleet_id, vehicle_id=SENDER.vehicle_id, boot_id=b"12345678", start_utc_ns=2**62,
        utc_source=telemetry_pb2.UTC_SOURCE_GNSS, frame_offsets_ns=bytes(8),
    )  # fmt: skip
    with pytest.raises(BatchError) as refused:
        intake().prepare(batch, SENDER, "stream")
    assert (refused.value.code, refused.value.field) == ("identity", "start_utc_ns")
    minute = health_pb2.VehicleReport(vehicle_id="car", boot_id=b"12345678", end_utc_ns=60 * 10**9, distance_km=13)
    with pytest.raises(FieldError, match="at most 12 is possible"):
        report_event(minute, CLOCK.utc_ns)


def test_what_an_event_cannot_hold_is_the_makers_error() -> None:
    report = health_pb2.VehicleReport(
        vehicle_id="car", boot_id=b"12345678", faults={f"{n}" * 60: 1 for n in range(9)}
    )
    assert report_event(report, 1).topic == HEALTH
    assert issubclass(EventTooLargeError, RefusedError)

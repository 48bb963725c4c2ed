"""Everything that takes bytes from outside: what reads them, examples to begin with, and the refusals it may give.

A target returns for bytes that are accepted, and raises one of its refusals for the others. Any other exception is a
fault, as are a hang and memory without bound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message
from tests.fuzz.examples import (
    CATALOGUE,
    CLOCK,
    CONFIG,
    IDENTITY,
    SCHEMA,
    batch,
    campaigns,
    clip,
    events,
    header,
    results,
    signing_requests,
)

from campaign_keeper import codec as keeper
from dataset_curator import codec as curator
from fleet_monitor.codec import report_of
from fleetloop.domain.archive_files import write_file
from fleetloop.domain.clips import ClipError, read_drive
from fleetloop.domain.clips.layout import decode_png, encode_png
from fleetloop.domain.clips.limits import clip_limits
from fleetloop.domain.dead_letters import DeadLetterId, dead_letter_of
from fleetloop.domain.run_folder import RunFolderError
from fleetloop.domain.run_folder import read_result as read_job_result
from fleetloop.domain.signals import CatalogueError, parse_catalogue
from fleetloop.domain.tasks import TaskSchemaError, parse_task_schema
from fleetloop.domain.validation import BatchError
from fleetloop.kit.bounds import check_bounds
from fleetloop.kit.messaging.events import event_id_of, event_time_ns_of, traceparent_of
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.tracing import span
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.security.identity import Identity, PkiError
from fleetloop.kit.security.pki import serial_of_pem
from fleetloop.kit.security.requests import read_request
from fleetloop.kit.storage.paging import page_of
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.training.v1 import training_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.errors import ExpressionError, TriggerFileError
from fleetloop.triggerlang.program import check
from fleetloop.triggerlang.trigger import parse_trigger
from label_desk import codec as desk
from label_router import codec as router
from rollout_controller import codec as rollout
from telemetry_archiver.codec import arrival_of
from telemetry_archiver.core import OpenFile
from telemetry_archiver.model import SeenBatches
from telemetry_gateway.codec import clip_of, command_of, report_event
from telemetry_gateway.core import check_clip
from telemetry_gateway.intake import Intake, Outage
from telemetry_gateway.model import FieldError, Sender
from training_orchestrator import codec as orchestrator
from trigger_detector.codec import campaign_of
from trigger_detector.model import CampaignRevision, Limits
from trigger_detector.partition import Partition, process_records
from trigger_detector.plan import Plan, make_plan, plan_of

SENDER = Sender("demo", "car-1")
Target = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """One reader of bytes from outside."""

    read: Target
    examples: Callable[[], Sequence[bytes]]
    refusals: tuple[type[Exception], ...]
    share: float = 1.0
    """Inputs in proportion to the other targets: less for what is slow."""


def _record(data: bytes) -> Record:
    return Record("fleet.x.v1", 0, 0, b"car-1", data, [("ce_id", b"e")], 1000)


@cache
def plan() -> Plan:
    """The shipped triggers."""
    triggers = tuple(parse_trigger(file.read_text()) for file in sorted((CONFIG / "triggers").glob("*.yaml")))
    return make_plan([(CampaignRevision("c", 1, True, triggers), 0)], CATALOGUE, Limits())[0]


class _Line:
    async def enqueue(self, event: object) -> Any:
        raise NotImplementedError


INTAKE = Intake(_Line(), CATALOGUE, CLOCK, Outage(), max_batch_bytes=520_192, spans_per_s=0)


def read_batch(data: bytes) -> None:
    """The gateway: a batch of a stream."""
    INTAKE.prepare(telemetry_pb2.TelemetryBatch.FromString(data), SENDER, "stream")


def read_logged_batch(data: bytes) -> None:
    """The detector: a message of the telemetry topic, which the gateway need not have written."""
    outcome = process_records(Partition(0), [_record(data)], plan(), CATALOGUE)
    for _, error in outcome.unreadable:
        raise error


def read_archived_batch(data: bytes) -> None:
    """The archiver: a message of the telemetry topic."""
    arrival, problem = arrival_of(_record(data))
    if problem is not None:
        raise problem
    file = OpenFile(0, SeenBatches())
    if file.fits(arrival):
        file.add(arrival)
        write_file(file.batches, file.footer(), file.appended_ms)


def read_report(data: bytes) -> None:
    """The gateway and the monitor: a vehicle's report."""
    event = report_event(health_pb2.VehicleReport.FromString(data), CLOCK.utc_ns)
    report_of(health_pb2.VehicleReport.FromString(event.payload), 60, CLOCK.utc_ns)


def read_clip_header(data: bytes) -> None:
    """The gateway: the header of an upload."""
    header = telemetry_pb2.ClipHeader.FromString(data)
    check_bounds(header)
    check_clip(clip_of(header), 2**28)


LIMITS = clip_limits(SCHEMA, 2**24)


def read_clip(data: bytes) -> None:
    """The process that reads clips for desk and curator."""
    read_drive(data, LIMITS)


def read_picture(data: bytes) -> None:
    """The desk and the curator: a picture of a clip."""
    decode_png("camera", data)


def read_headers(data: bytes) -> None:
    """Every consumer: the headers of a message."""
    pieces = data.split(b"\0")
    headers = list(zip(("ce_id", "ce_time", "ce_traceparent", "attempts"), [p or None for p in pieces], strict=False))
    event_id_of(headers)
    event_time_ns_of(headers)
    with span("fuzz", parent=traceparent_of(headers)):
        pass
    dead_letter_of(Record("fleet.x.v1.dlq", 0, 0, None, b"", headers, 0), {})


EVENTS: Sequence[tuple[type[Message], Sequence[Callable[[Record], object]]]] = (
    (clip_pb2.ClipStored, (router.clip_in, keeper.clip_in)),
    (trigger_pb2.TriggerFired, (router.firing_in, keeper.firing_in)),
    (label_pb2.LabelTaskCreated, (desk.task_in, keeper.label_task_in)),
    (label_pb2.SampleLabelled, (curator.labelled_in, keeper.label_in)),
    (dataset_pb2.DatasetCommitted, (orchestrator.version_in, keeper.commit_in, rollout.version_in)),
    (training_pb2.RunChanged, (rollout.passed_run_in,)),
    (rollout_pb2.ModelChanged, (orchestrator.model_change_in,)),
    (health_pb2.VehicleReport, (rollout.report_of,)),
    (command_pb2.VehicleCommand, (command_of,)),
)


def read_event(data: bytes) -> None:
    """Every consumer: a message of a topic, which the first byte chooses."""
    if not data:
        return
    _, readers = EVENTS[data[0] % len(EVENTS)]
    for read in readers:
        read(_record(data[1:]))


def read_campaign(data: bytes) -> None:
    """The detector: a campaign, whose triggers are compiled."""
    revision, _ = campaign_of(_record(data))
    plan_of([(revision, 0)], CATALOGUE, Limits())


def read_expression(data: bytes) -> None:
    """The keeper: the condition of a trigger that somebody applies."""
    check(data.decode("utf-8", "replace"), {}, CATALOGUE, 60)


def read_trigger_file(data: bytes) -> None:
    """The command line: a trigger's file."""
    parse_trigger(data.decode("utf-8", "replace"))


def read_catalogue(data: bytes) -> None:
    """Every service: the signal catalogue that people edit."""
    parse_catalogue(data.decode("utf-8", "replace"))


def read_task_schema(data: bytes) -> None:
    """Every service: the task schema that people edit."""
    parse_task_schema(data.decode("utf-8", "replace"))


def read_signing_request(data: bytes) -> None:
    """Enrolment: a signing request, or a certificate."""
    try:
        serial_of_pem(data)
    except PkiError:
        read_request(data, IDENTITY)


def read_names(data: bytes) -> None:
    """Servers and the command line: identities, page tokens, and names of dead-letter messages."""
    text = data.decode("utf-8", "replace")
    refusals = 0
    for read in (Identity.parse, DeadLetterId.parse, lambda token: page_of(10, token)):
        try:
            read(text)
        except (PkiError, ValueError, RefusedError):
            refusals += 1
    if refusals == 3:
        raise PkiError("refused by all")


def read_result(data: bytes) -> None:
    """The orchestrator: the result of a job."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "result.json").write_bytes(data)
        read_job_result(Path(folder))


_EVENT = (DecodeError, UnreadableMessageError, RefusedError)
_TRIGGER = (ExpressionError, TriggerFileError)
TARGETS: dict[str, Fuzzed] = {
    "gateway-batch": Fuzzed(read_batch, lambda: [batch()], (DecodeError, BatchError)),
    "detector-batch": Fuzzed(read_logged_batch, lambda: [batch()], _EVENT),
    "archiver-batch": Fuzzed(read_archived_batch, lambda: [batch()], _EVENT, 0.3),
    "report": Fuzzed(read_report, lambda: [events()[7][1:]], (*_EVENT, FieldError)),
    "clip-header": Fuzzed(
        read_clip_header,
        lambda: [header().SerializeToString()],
        (*_EVENT, FieldError),
    ),
    "clip": Fuzzed(read_clip, lambda: [clip()], (ClipError,), 0.5),
    "picture": Fuzzed(read_picture, lambda: [encode_png(np.zeros((8, 8, 3), np.uint8))], (ClipError,)),
    "headers": Fuzzed(
        read_headers, lambda: [b"id\x002026-11-28T00:00:00Z\x0000-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"], ()
    ),
    "event": Fuzzed(read_event, events, _EVENT),
    "campaign": Fuzzed(read_campaign, campaigns, _EVENT, 0.1),
    "expression": Fuzzed(
        read_expression,
        lambda: [
            b"max(Vehicle.Speed, 2 s) > 50 km/h",
            b'any_track(Perception.Tracks, Class == "car" and Score > 0.5)',
        ],
        _TRIGGER,
    ),
    "trigger-file": Fuzzed(
        read_trigger_file, lambda: [f.read_bytes() for f in (CONFIG / "triggers").glob("*.yaml")], _TRIGGER, 0.5
    ),
    "signal-catalogue": Fuzzed(
        read_catalogue,
        lambda: [b"{version: 1, signals: {Speed: {type: float64, min: 0, max: 9}}}"],
        (CatalogueError,),
        0.5,
    ),
    "task-schema": Fuzzed(read_task_schema, lambda: [(CONFIG / "tasks.yaml").read_bytes()], (TaskSchemaError,), 0.3),
    "signing-request": Fuzzed(read_signing_request, signing_requests, (PkiError,)),
    "names": Fuzzed(read_names, lambda: [b"spiffe://demo/user/ann", b"fleet.clip.v1/0/12"], (PkiError,)),
    "result": Fuzzed(read_result, results, (RunFolderError,), 0.3),
}

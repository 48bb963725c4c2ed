"""Bytes that are accepted, for each target: mutations begin with them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from fleetloop.domain.clips import DriveInfo, DriveWriter
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.run_folder import RunResult, to_json
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import parse_task_schema
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.security.requests import make_request
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.training.v1 import training_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.trigger import parse_trigger

CONFIG = Path(__file__).parents[2] / "config"
CATALOGUE = load_catalogue(CONFIG / "signals.yaml")
SCHEMA = parse_task_schema((CONFIG / "tasks.yaml").read_text())
CLOCK = ManualClock()
DIGEST = "0123456789abcdef" * 4
IDENTITY = Identity("demo", "user", "ann")


def batch() -> bytes:
    """A batch that the gateway accepts."""
    columns = {
        "Vehicle.Speed": Column(np.array([1, 60, 2], np.float32)),
        "Map.Feature": Column(np.array([0, 1, 0], np.uint16), None, None, CATALOGUE["Map.Feature"].values),
        "Perception.Tracks.Id": Column(np.arange(2), None, np.array([0, 1, 2, 2], np.uint32)),
        "Perception.Tracks.Score": Column(np.ones(2, np.float32), None, np.array([0, 1, 2, 2], np.uint32)),
    }
    offsets = np.arange(3, dtype=np.int64) * 10**8
    utc_ns = CLOCK.utc_ns - 10**9
    frames = FrameBatch("demo", "car-1", b"12345678", 3, 5, utc_ns, "gnss", offsets, columns, DIGEST)
    return encode_batch(frames).SerializeToString()


def header() -> telemetry_pb2.ClipHeader:
    """The header of an upload."""
    return telemetry_pb2.ClipHeader(
        sha256=DIGEST,
        size_bytes=99,
        fleet_id="demo",
        vehicle_id="car-1",
        boot_id=b"12345678",
        start_utc_ns=5,
        end_utc_ns=9,
        cameras=["front"],
        firing_id="f",
        model_digest=DIGEST,
    )


def clip() -> bytes:
    """A small clip."""
    target = io.BytesIO()
    with DriveWriter(target, DriveInfo("car", "drive", boot_id=b"12345678")) as writer:
        times = np.arange(3, dtype=np.int64)
        writer.signal("Vehicle.Speed", times, np.ones(3, np.float32))
        writer.signal("T.Id", times, np.arange(2), np.array([0, 1, 2, 2], np.uint32))
        camera = SCHEMA.cameras[0]
        writer.image(camera.name, 0, np.zeros((camera.height, camera.width, 3), np.uint8))
    return target.getvalue()


def events() -> Sequence[bytes]:
    """An event of each kind."""
    origin = provenance_pb2.Provenance(
        fleet_id="demo", vehicle_id="car-1", boot_id=b"12345678", clip_id=DIGEST, firing_id="f", trigger="t",
        trigger_version=1, campaign="c", model_digest=DIGEST, sample_id="s",
    )  # fmt: skip
    made: Sequence[Message] = (
        clip_pb2.ClipStored(event_id="e", provenance=origin, address="demo/a.mcap", sha256=DIGEST, size_bytes=9),
        trigger_pb2.TriggerFired(event_id="e", provenance=origin, evidence={"Vehicle.Speed": 1.5}, conditions=["x"]),
        label_pb2.LabelTaskCreated(task_id="t", provenance=origin, project="p", task="stop_sign", clip_address="a"),
        label_pb2.SampleLabelled(
            event_id="e",
            provenance=origin,
            dataset="town",
            task="stop_sign",
            answers={"stop_sign": "plain"},
            outcome=label_pb2.LABEL_OUTCOME_AGREED,
            clip_address="demo/a.mcap",
        ),
        dataset_pb2.DatasetCommitted(dataset="town", version="v7", samples=9, added_sample_ids=["s"]),
        training_pb2.RunChanged(
            run_id="r",
            verdict=training_pb2.VERDICT_PASSED,
            state=training_pb2.RUN_STATE_EVALUATED,
            model_digest=DIGEST,
            artifact_address="demo/r",
        ),
        rollout_pb2.ModelChanged(model_digest=DIGEST, stage=rollout_pb2.MODEL_STAGE_RELEASED, sequence=4),
        health_pb2.VehicleReport(vehicle_id="car-1", boot_id=b"12345678", sequence=4, faults={"a": 1}),
        command_pb2.VehicleCommand(command_id="c", vehicle_id="car-1", expires_at_utc_ns=5),
    )
    return [bytes([number]) + message.SerializeToString() for number, message in enumerate(made)]


def campaigns() -> Sequence[bytes]:
    """A campaign with one trigger."""
    trigger = campaign_pb2.TriggerDefinition(
        name="t",
        version=1,
        expression="max(Vehicle.Speed, 2 s) > 50 km/h",
        mode=campaign_pb2.TRIGGER_MODE_RISING_EDGE,
        min_interval_s=1,
        task="stop_sign",
        sampling_fraction=1,
        conditions={"fast": "Vehicle.Speed > 60 km/h"},
    )
    running = campaign_pb2.CAMPAIGN_STATE_RUNNING
    campaign = campaign_pb2.Campaign(campaign="c", state=running, triggers=[trigger])
    return [campaign.SerializeToString()]


def expressions() -> Sequence[bytes]:
    """The conditions of the shipped triggers."""
    files = sorted((CONFIG / "triggers").rglob("*.yaml"))
    return [parse_trigger(file.read_text()).expression.encode() for file in files]


def signing_requests() -> Sequence[bytes]:
    """A signing request as `fleetloop users request` makes it."""
    with tempfile.TemporaryDirectory() as folder:
        return [make_request(IDENTITY, Path(folder)).read_bytes()]


def results() -> Sequence[bytes]:
    """A result as a job writes it."""
    result = RunResult(
        passed=True, reasons=["better"], metrics=[], model_digest=DIGEST, files={"head.onnx": "model/head.onnx"}
    )  # fmt: skip
    return [to_json(result).encode()]

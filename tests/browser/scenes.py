"""Clips of a simulated approach to a stop sign, and the questions about them as the router asks."""

from __future__ import annotations

import hashlib
import io
import time

import numpy as np

from fleetloop.domain.clips import DriveInfo, DriveWriter
from fleetloop.domain.messages import event_of
from fleetloop.domain.tasks import TaskSchema
from fleetloop.domain.topics import LABEL_TASK
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.worlds.town.render import Renderer
from fleetloop.worlds.town.scene import view
from fleetloop.worlds.town.streets import Town

S = 10**9
START_UTC_NS = 1_600_000_000 * S
PERIOD_NS = S // 2
INSTANTS, MOMENT = 17, 9
SPEED_MPS = 5.0


def clip(schema: TaskSchema, kind: str, number: int) -> bytes:
    """Eight seconds of driving towards a thing of `kind` (plain, leaves, held, placard, truck) by day."""
    street = Town.generate(seed=10 + number, mix={kind: 1.0}, size=3).street(1, 1, 0)
    near_m = street.approach.sign_m - 11.0
    views = [
        view(
            street, None, None, along_m=near_m + (at - MOMENT) * SPEED_MPS / 2, left_m=0.0, time_s=at / 2, light=0.95,
            noise_seed=number * 100 + at,
        )
        for at in range(INSTANTS)
    ]  # fmt: skip
    pictures = Renderer(schema.cameras).render(views)
    info = DriveInfo(
        vehicle_id=f"vehicle-{number:03d}", drive_id=f"drive-{number}", start_utc_ns=START_UTC_NS,
        utc_source="simulated", onset_monotonic_ns=MOMENT * PERIOD_NS, trigger="driver_intervention",
    )  # fmt: skip
    target = io.BytesIO()
    with DriveWriter(target, info) as writer:
        for at in range(INSTANTS):
            for place, camera in enumerate(schema.cameras):
                writer.image(camera.name, at * PERIOD_NS, np.ascontiguousarray(pictures[at, place]))
    return target.getvalue()


def question(objects: Objects, schema: TaskSchema, kind: str, number: int, agreement: int = 1) -> Event:
    """A clip in the object store and the task that asks about its moment; lower numbers are more urgent."""
    content = clip(schema, kind, number)
    sha = hashlib.sha256(content).hexdigest()
    address = f"demo/clips/2026-01-01/{sha}.mcap"
    objects.put_once(address, content)
    sample_id = causal_id("sample", sha)
    task_id = causal_id("labeltask", sample_id)
    message = label_pb2.LabelTaskCreated(
        task_id=task_id,
        provenance=provenance_pb2.Provenance(
            vehicle_id=f"vehicle-{number:03d}",
            clip_id=sha,
            sample_id=sample_id,
            trigger="driver_intervention",
            trigger_version=1,
            firing_id=f"f{number}",
        ),
        project="stop-signs",
        dataset="town",
        task="stop_sign",
        sources=[label_pb2.LABEL_SOURCE_HUMAN],
        why="driver_intervention: braked, took_over",
        clip_address=address,
        moment_utc_ns=START_UTC_NS + MOMENT * PERIOD_NS,
        moment_monotonic_ns=MOMENT * PERIOD_NS,
        agreement=agreement,
        priority=1000 - number,
        place=provenance_pb2.Place(latitude_deg=47.66 + number / 1000, longitude_deg=-122.31),
        created_at_utc_ns=time.time_ns(),
        detected_at_utc_ns=time.time_ns(),
    )
    return event_of(LABEL_TASK, sample_id, task_id, message, time.time_ns())

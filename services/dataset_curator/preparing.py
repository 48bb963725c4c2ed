"""Makes samples: of a labelled moment of a clip, or of a row of a set that is labelled already."""

from __future__ import annotations

import numpy as np

from dataset_curator.model import LabelledMoment, Sample
from dataset_curator.ports import Trunk
from fleetloop.domain.clips import ClipError, Drive
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.dataset_digest import content_digest
from fleetloop.domain.labelled_set import LabelledRow
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import ns_to_seconds


def sample_of(labelled: LabelledMoment, clips: StoredClips, schema: TaskSchema, trunk: Trunk) -> Sample:
    """The sample behind a label, with its pixels read from the clip.

    Raises ClipError or ObjectMissingError when the clip lacks what the net sees at the moment, TaskSchemaError
    when the schema has no such choice.
    """
    drive = clips.read(labelled.clip_address, labelled.clip_id)
    cameras = [camera.name for camera in schema.cameras]
    period_s = _camera_period_s(drive, cameras[0]) * schema.frames.stride
    frames = drive.frames_at(cameras, labelled.moment_monotonic_ns, schema.frames.count, period_s)
    if frames.shape != (required := _shape(schema)):  # such a sample would fail every later training run
        raise ClipError("cameras", f"the pictures are {frames.shape}; config/tasks.yaml requires {required}")
    choice, position = labelled.choice, labelled.position_deg
    return Sample(
        sample_id=labelled.sample_id,
        task=labelled.task,
        choice=choice,
        answers={labelled.task: dict(schema.task(labelled.task).answer(choice).heads)},
        frames=frames,
        content_sha256=content_digest(frames),
        embedding=trunk.embed(frames),
        trunk=trunk.name,
        place=f"{position[0]:.6f},{position[1]:.6f}" if position is not None else "",
        moment_utc_ns=labelled.moment_utc_ns,
        vehicle_id=labelled.vehicle_id,
        clip_id=labelled.clip_id,
        clip_address=labelled.clip_address,
        firing_id=labelled.firing_id,
        trigger=labelled.trigger,
        trigger_version=labelled.trigger_version,
        campaign=labelled.campaign,
        model_digest=labelled.model_digest,
        label_source=labelled.label_source,
        label_confidence=labelled.label_confidence,
        labelled_at_utc_ns=labelled.labelled_at_utc_ns,
        detected_at_utc_ns=labelled.detected_at_utc_ns,
    )


def _camera_period_s(drive: Drive, camera: str) -> float:
    times = np.array([image.time_ns for image in drive.images(camera)])
    if len(times) < 2:
        raise ClipError(f"camera {camera}", "has fewer than two frames; the net sees several")
    return ns_to_seconds(float(np.median(np.diff(times))))


def _shape(schema: TaskSchema) -> tuple[int, ...]:
    camera = schema.cameras[0]
    return schema.frames.count, len(schema.cameras), camera.height, camera.width, 3


def imported_sample(row: LabelledRow, schema: TaskSchema, trunk: Trunk, now_utc_ns: int) -> Sample:
    """A row of a labelled set as a sample.

    Raises TaskSchemaError when its answers are not the schema's, ClipError when its pictures are not.
    """
    schema.encode(row.answers)
    if row.frames.shape != (required := _shape(schema)):
        found, shape = list(row.frames.shape), list(required)
        raise ClipError(f"{row.sample_id}: frames_shape", f"is {found}; config/tasks.yaml requires {shape}")
    return Sample(
        sample_id=row.sample_id,
        task="stop_sign" if row.choice else "",
        choice=row.choice,
        answers={task: dict(heads) for task, heads in row.answers.items()},
        frames=row.frames,
        content_sha256=content_digest(row.frames),
        embedding=trunk.embed(row.frames),
        trunk=trunk.name,
        slice=row.slice,
        place=row.place,
        moment_utc_ns=row.moment_utc_ns,
        label_source="imported",
        labelled_at_utc_ns=now_utc_ns,
    )

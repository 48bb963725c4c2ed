"""Clips in the object store: their bytes per second, and which of them show a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from google.protobuf.message import DecodeError

from fleetloop.backtesting.model import ClipCost, StoredClip
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND, ns_to_seconds
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.clip.v1 import clip_pb2

MOST_RECEIPTS = 20_000
"""Most receipts that a backtest reads, which bounds its start-up time on a large store."""


def stored_clips(objects: Objects, fleet_id: str, most: int = MOST_RECEIPTS) -> dict[str, list[StoredClip]]:
    """Return stored clips by vehicle, from the receipts that the gateway keeps beside them, `most` in total."""
    clips: dict[str, list[StoredClip]] = {}
    for address in islice(objects.list(f"{fleet_id}/clip-receipts/"), most):
        try:
            stored = clip_pb2.ClipStored.FromString(objects.get(address))
        except DecodeError:
            continue
        clip = StoredClip(
            stored.address,
            stored.provenance.vehicle_id,
            stored.start_utc_ns,
            stored.end_utc_ns,
            stored.size_bytes,
            len(stored.cameras),
        )
        clips.setdefault(clip.vehicle, []).append(clip)
    return clips


def clip_cost(clips: Mapping[str, Sequence[StoredClip]], schema: TaskSchema, camera_hz: float) -> ClipCost:
    """Measure bytes per second on the stored clips; without any, take the cameras' raw pixels at `camera_hz`."""
    long_enough = [
        clip
        for own in clips.values()
        for clip in own
        if clip.end_utc_ns - clip.start_utc_ns >= NANOSECONDS_PER_SECOND and clip.cameras
    ]
    if long_enough:
        seconds = ns_to_seconds(sum(clip.end_utc_ns - clip.start_utc_ns for clip in long_enough))
        weight = sum(clip.size_bytes for clip in long_enough) / seconds
        cameras = round(sum(clip.cameras for clip in long_enough) / len(long_enough))
        return ClipCost(weight, cameras, f"measured on {len(long_enough):,} stored clips of {cameras} cameras")
    pixels = sum(camera.width * camera.height for camera in schema.cameras)
    basis = f"no clip is stored: raw pixels of {len(schema.cameras)} cameras at {camera_hz:g} Hz, an upper bound"
    return ClipCost(pixels * 3 * camera_hz, len(schema.cameras), basis)

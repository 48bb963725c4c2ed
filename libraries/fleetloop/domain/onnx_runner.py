"""The net on the vehicle: it runs exported ONNX graphs and keeps the tokens of earlier frames between calls.

A vehicle has no torch, and encodes each picture once. One runner serves all vehicles of a process in one batch.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fleetloop.domain.artifacts import CARD, ENCODER, HEAD, VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.domain.tasks import TaskSchema

FloatArray = NDArray[np.float32]


class ModelError(ValueError):
    """A model's files cannot be used by this vehicle. The message names the file and the reason."""


class OnnxRunner:
    """Runs a model for many vehicles. Not thread-safe."""

    def __init__(
        self,
        encoder: onnxruntime.InferenceSession,
        head: onnxruntime.InferenceSession,
        digest: str,
        schema: TaskSchema,
    ) -> None:
        """Create a runner from loaded sessions; use `load` to load a folder."""
        self.digest = digest
        self._encoder, self._head = encoder, head
        self._columns = list(schema.columns())
        self._stride, self._count = schema.frames.stride, schema.frames.count
        self._memory: dict[str, deque[FloatArray]] = {}

    @classmethod
    def load(cls, folder: Path, schema: TaskSchema, threads: int = 1) -> OnnxRunner:
        """Load a model's folder. Raises ModelError if a file is missing, damaged, or made for another schema."""
        contents = {}
        for name in VEHICLE_FILES:
            try:
                contents[name] = (folder / name).read_bytes()
            except OSError as error:
                raise ModelError(f"{folder / name}: cannot be read: {error.strerror}") from error
        try:
            card = json.loads(contents[CARD])
        except ValueError as error:
            raise ModelError(f"{folder / CARD}: is not JSON: {error}") from error
        if card.get("schema_version") != schema.version:
            versions = f"has schema version {card.get('schema_version')}, this vehicle has {schema.version}"
            raise ModelError(f"{folder / CARD}: {versions}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        sessions = {}
        for name in (ENCODER, HEAD):
            try:
                sessions[name] = onnxruntime.InferenceSession(contents[name], options, ["CPUExecutionProvider"])
            except Exception as error:  # the runtime's errors have no common type
                raise ModelError(f"{folder / name}: cannot be loaded: {error}") from error
        missing = set(schema.columns()) - {output.name for output in sessions[HEAD].get_outputs()}
        if missing:
            raise ModelError(f"{folder / HEAD}: has no output {', '.join(sorted(missing))}")
        digest = artifact_digest({name: sha256_hex(content) for name, content in contents.items()})
        return cls(sessions[ENCODER], sessions[HEAD], digest, schema)

    def infer(self, vehicle_ids: Sequence[str], cameras: NDArray[np.uint8]) -> list[dict[str, FloatArray]]:
        """Run one frame of each vehicle, uint8 [B, C, H, W, 3]. Returns outputs [width] by schema column, per
        vehicle.

        A vehicle's first frame also takes the place of the earlier frames that it does not have yet.
        """
        if not vehicle_ids:
            return []
        tokens: FloatArray = self._encoder.run(None, {"cameras": cameras})[0]
        stacked = np.stack([self._with_past(name, now) for name, now in zip(vehicle_ids, tokens, strict=True)])
        outputs = self._head.run(self._columns, {"tokens": stacked})
        return [
            {column: values[row] for column, values in zip(self._columns, outputs, strict=True)}
            for row in range(len(vehicle_ids))
        ]

    def forget(self, vehicle_id: str) -> None:
        """Delete a vehicle's earlier frames. Call it at a gap in its pictures, when they show another location."""
        self._memory.pop(vehicle_id, None)

    def _with_past(self, vehicle_id: str, now: FloatArray) -> FloatArray:
        """Return the tokens of all T frames, [T, N, D], the oldest first."""
        span = (self._count - 1) * self._stride + 1
        kept = self._memory.setdefault(vehicle_id, deque(maxlen=span))
        if not kept:
            kept.extend([now] * span)
        kept.append(now)
        return np.stack(list(kept)[:: self._stride])


def perceived_signals(schema: TaskSchema, outputs: Mapping[str, FloatArray], prefix: str) -> dict[str, float | str]:
    """Return a net's outputs as signals: by path, a probability, a number, or the name of a category.

    A scalar that depends on a binary head is left out where that head is more likely false.
    """
    signals: dict[str, float | str] = {}
    columns = schema.columns()
    for column, paths in schema.signal_names(prefix).items():
        task, head = columns[column]
        values = outputs[column]
        if head.kind == "categorical":
            chosen = int(np.argmax(values))
            signals[paths[0]] = head.classes[chosen]
            signals[paths[1]] = float(values[chosen])
        elif head.kind == "multilabel":
            signals |= {path: float(value) for path, value in zip(paths, values, strict=True)}
        elif head.kind == "scalar" and head.given and outputs[f"{task.name}.{head.given}"][0] < 0.5:
            continue
        else:
            signals[paths[0]] = float(values[0])
    return signals

"""The net on the vehicle: ONNX files in, what it perceives out, earlier frames' tokens kept between calls.

Why it exists: a vehicle has no torch, and pays for each picture once. One runner serves all vehicles of a process in
one batch.
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
    """A model's files cannot be used by this vehicle; the text names the file and why."""


class OnnxRunner:
    """Runs a model for many vehicles. Not for several threads at once."""

    def __init__(
        self,
        encoder: onnxruntime.InferenceSession,
        head: onnxruntime.InferenceSession,
        digest: str,
        schema: TaskSchema,
    ) -> None:
        """Use `load`."""
        self.digest = digest
        self._encoder, self._head = encoder, head
        self._columns = list(schema.columns())
        self._stride, self._count = schema.frames.stride, schema.frames.count
        self._memory: dict[str, deque[FloatArray]] = {}

    @classmethod
    def load(cls, folder: Path, schema: TaskSchema, threads: int = 1) -> OnnxRunner:
        """A model's folder, ready to run. Raises ModelError when a file is missing, broken or of another schema."""
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
            wants = f"is of schema version {card.get('schema_version')}, this vehicle has {schema.version}"
            raise ModelError(f"{folder / CARD}: {wants}")
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
        """One frame each of some vehicles, [B, C, H, W, 3]: schema column -> output [width], per vehicle.

        A vehicle's first frame stands in for the earlier ones that it does not have yet.
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
        """Drops a vehicle's earlier frames: at a gap in its pictures they are of somewhere else."""
        self._memory.pop(vehicle_id, None)

    def _with_past(self, vehicle_id: str, now: FloatArray) -> FloatArray:
        """[T, N, D], the oldest first."""
        span = (self._count - 1) * self._stride + 1
        kept = self._memory.setdefault(vehicle_id, deque(maxlen=span))
        if not kept:
            kept.extend([now] * span)
        kept.append(now)
        return np.stack(list(kept)[:: self._stride])


def perceived_signals(schema: TaskSchema, outputs: Mapping[str, FloatArray], prefix: str) -> dict[str, float | str]:
    """What a net says as telemetry: signal path -> probability, number, or a category's word.

    A scalar that is asked only where something is there is left out where it more likely is not.
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

"""Run a net, or the graphs exported from one, over many scenes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from fleetloop.domain.artifacts import ENCODER, HEAD
from fleetloop.domain.tasks import TaskSchema
from perception.model import Net, activate

_BATCH = 64


def predict(net: Net, frames: NDArray[np.uint8], schema: TaskSchema) -> Mapping[str, NDArray[np.float32]]:
    """Return activated outputs [n, width] by schema column for frames [n, T, C, H, W, 3]."""
    net.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(frames), _BATCH):
            raw = net(torch.from_numpy(frames[start : start + _BATCH]))
            parts.append({column: value.numpy() for column, value in activate(raw, schema).items()})
    return {column: np.concatenate([part[column] for part in parts]) for column in schema.columns()}


def predict_exported(
    folder: Path, frames: NDArray[np.uint8], schema: TaskSchema
) -> Mapping[str, NDArray[np.float32]]:
    """Return the same as `predict`, computed by a model's exported files as a vehicle runs them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # beside others on the machine, more threads mostly wait for each other
    encoder, head = (onnxruntime.InferenceSession(folder / name, options) for name in (ENCODER, HEAD))
    columns = list(schema.columns())
    parts = []
    for start in range(0, len(frames), _BATCH):
        some = frames[start : start + _BATCH]
        tokens = encoder.run(None, {"cameras": some.reshape(-1, *some.shape[2:])})[0]
        parts.append(head.run(columns, {"tokens": tokens.reshape(*some.shape[:2], *tokens.shape[1:])}))
    return {column: np.concatenate([part[index] for part in parts]) for index, column in enumerate(columns)}

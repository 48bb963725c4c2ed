"""Ask a net, or the graphs exported from one, about many scenes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from fleetloop.domain.artifacts import ENCODER, HEAD
from fleetloop.domain.tasks import TaskSchema
from perception.model import Net, activate

_AT_ONCE = 64


def answers(net: Net, frames: NDArray[np.uint8], schema: TaskSchema) -> Mapping[str, NDArray[np.float32]]:
    """Activated outputs [n, width] by schema column for frames [n, T, C, H, W, 3]."""
    net.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(frames), _AT_ONCE):
            raw = net(torch.from_numpy(frames[start : start + _AT_ONCE]))
            parts.append({column: value.numpy() for column, value in activate(raw, schema).items()})
    return {column: np.concatenate([part[column] for part in parts]) for column in schema.columns()}


def exported_answers(
    folder: Path, frames: NDArray[np.uint8], schema: TaskSchema
) -> Mapping[str, NDArray[np.float32]]:
    """As `answers`, from a model's exported files."""
    encoder, head = (onnxruntime.InferenceSession(folder / name) for name in (ENCODER, HEAD))
    columns = list(schema.columns())
    parts = []
    for start in range(0, len(frames), _AT_ONCE):
        some = frames[start : start + _AT_ONCE]
        tokens = encoder.run(None, {"cameras": some.reshape(-1, *some.shape[2:])})[0]
        parts.append(head.run(columns, {"tokens": tokens.reshape(*some.shape[:2], *tokens.shape[1:])}))
    return {column: np.concatenate([part[place] for part in parts]) for place, column in enumerate(columns)}

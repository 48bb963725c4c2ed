"""Export a trained net as the files that a vehicle loads, two ONNX graphs and a card, and the weights for the next
run.

The encoder runs once per frame and the vehicle keeps its tokens, so past frames cost nothing. The exported graphs are
compared with the trained net before they are published.
"""

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fleetloop.domain.artifacts import (
    CARD,
    ENCODER,
    HEAD,
    VEHICLE_FILES,
    WEIGHTS,
    WEIGHTS_DIGEST,
    artifact_digest,
    sha256_hex,
)
from fleetloop.domain.tasks import TaskSchema
from perception.model import Net, activate

TOLERANCE = 2e-3
"""Largest allowed difference between an exported and a trained output, as a probability or in units of the head's
scale.
"""


class ExportError(RuntimeError):
    """The exported graphs do not compute what the net computes."""


class _ActivatedHead(nn.Module):
    """The head with activated outputs, as a tuple in the schema's order."""

    def __init__(self, net: Net, schema: TaskSchema) -> None:
        super().__init__()
        self.head = net.head
        self.schema = schema

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        return tuple(activate(self.head(tokens), self.schema).values())


def export(net: Net, schema: TaskSchema, card: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, str]]:
    """Export a net into a folder.

    Args:
        net: The trained net.
        schema: The task schema, which determines the inputs and the order of the outputs.
        card: Description of the model, stored beside it.
        folder: Where the files are written.

    Returns the model's digest, and the path of each file in `folder` by its name.

    Raises ExportError if the graphs compute something else than the net.
    """
    folder.mkdir(parents=True, exist_ok=True)
    net.eval()
    camera = schema.cameras[0]
    shape = (2, len(schema.cameras), camera.height, camera.width, 3)
    cameras = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = net.encoder(cameras)[:, None].expand(-1, schema.frames.count, -1, -1).contiguous()
    _write(net.encoder, cameras, folder / ENCODER, "cameras", ["tokens"])
    _write(_ActivatedHead(net, schema), tokens, folder / HEAD, "tokens", list(schema.columns()))
    _compare(net, schema, cameras, folder)
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, folder / WEIGHTS)
    weights = {WEIGHTS_DIGEST: sha256_hex((folder / WEIGHTS).read_bytes())}
    (folder / CARD).write_text(json.dumps({**card, **weights}, indent=1, sort_keys=True) + "\n")
    digest = artifact_digest({name: sha256_hex((folder / name).read_bytes()) for name in VEHICLE_FILES})
    return digest, {name: name for name in (*VEHICLE_FILES, WEIGHTS)}


def _write(module: nn.Module, example: Tensor, path: Path, name: str, outputs: list[str]) -> None:
    # The exporter logs its own progress and warns of deprecations in its dependencies.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            path,
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compare(net: Net, schema: TaskSchema, cameras: Tensor, folder: Path) -> None:
    """Compare the exported graphs with the net, on three scenes so that a batch size other than the example's is
    used.
    """
    three = torch.cat([cameras, cameras.flip(2)[:1]])
    frames = three[:, None].expand(-1, schema.frames.count, -1, -1, -1, -1)
    with torch.no_grad():
        expected = activate(net(frames), schema)
    encoder, head = (onnxruntime.InferenceSession(folder / name) for name in (ENCODER, HEAD))
    tokens = encoder.run(None, {"cameras": three.numpy()})[0]
    repeated = np.repeat(tokens[:, None], schema.frames.count, 1)
    columns = schema.columns()
    for column, got in zip(columns, head.run(list(columns), {"tokens": repeated}), strict=True):
        scale = columns[column][1].scale
        difference = float(np.abs(got - expected[column].numpy()).max()) / scale
        if not difference <= TOLERANCE:  # also true for NaN
            raise ExportError(f"{column}: the exported graph differs by {difference:.2g}, allowed is {TOLERANCE}")

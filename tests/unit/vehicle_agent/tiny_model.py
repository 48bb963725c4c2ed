"""A model of a few nodes that really runs on ONNX Runtime, and says what a test wants it to say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fleetloop.domain.artifacts import CARD, ENCODER, HEAD, VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.domain.tasks import TaskSchema


def write_model(
    folder: Path, schema: TaskSchema, says: Mapping[str, float], name: str = "tiny", brightness: float = 0.0
) -> str:
    """Writes encoder, head and card; the digest. `says`: `task.head` -> what every number of it is, 0 unless given.

    `brightness` times the pictures' mean, 0 to 1, is added: the pictures are really looked at.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _encoder(folder / ENCODER)
    _head(folder / HEAD, schema, says, brightness)
    (folder / CARD).write_text(json.dumps({"name": name, "schema_version": schema.version}))
    return artifact_digest({file: sha256_hex((folder / file).read_bytes()) for file in VEHICLE_FILES})


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> None:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def _encoder(path: Path) -> None:
    """[B, C, H, W, 3] uint8 -> [B, 1, 1], the mean of the pictures."""
    scale = numpy_helper.from_array(np.array(255, np.float32), "scale")
    shape = numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "shape")
    nodes = [
        helper.make_node("Cast", ["cameras"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["share"]),
        helper.make_node("Reshape", ["share", "shape"], ["tokens"]),
    ]
    cameras = helper.make_tensor_value_info("cameras", TensorProto.UINT8, ["b", "c", "h", "w", 3])
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["b", 1, 1])
    _save(path, nodes, [cameras], [tokens], [scale, shape])


def _head(path: Path, schema: TaskSchema, says: Mapping[str, float], brightness: float) -> None:
    """[B, T, 1, 1] -> for each column [B, width]."""
    nodes = [helper.make_node("ReduceMean", ["tokens"], ["all"], axes=[1, 2], keepdims=0)]
    outputs: list[Any] = []
    constants: list[Any] = []
    for column, (_, head) in schema.columns().items():
        value = np.full(head.width, says.get(column, 0.0), np.float32)
        constants.append(numpy_helper.from_array(value, f"{column}.says"))
        constants.append(numpy_helper.from_array(np.full((1, head.width), brightness, np.float32), f"{column}.by"))
        nodes.append(helper.make_node("MatMul", ["all", f"{column}.by"], [f"{column}.seen"]))
        nodes.append(helper.make_node("Add", [f"{column}.seen", f"{column}.says"], [column]))
        outputs.append(helper.make_tensor_value_info(column, TensorProto.FLOAT, ["b", head.width]))
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["b", "t", 1, 1])
    _save(path, nodes, [tokens], outputs, constants)

"""The exported model computes what the trained one does, in any runtime."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.perception.nets import RECIPE, SCHEMA, red_squares

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.domain.onnx_runner import ModelError, OnnxRunner, perceived_signals
from perception.export import export
from perception.inference import predict, predict_exported
from perception.model import Net


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Net, str]:
    torch.manual_seed(4)
    folder, net = tmp_path_factory.mktemp("model"), Net(SCHEMA, RECIPE)
    digest, files = export(net, SCHEMA, {"schema_version": SCHEMA.version}, folder)
    assert set(files) == {*VEHICLE_FILES, "model.safetensors"}
    return folder, net, digest


def test_the_digest_is_that_of_the_files(exported: tuple[Path, Net, str]) -> None:
    folder, _, digest = exported
    assert digest == artifact_digest({name: sha256_hex((folder / name).read_bytes()) for name in VEHICLE_FILES})


def test_exported_graphs_answer_as_the_net_for_any_number_of_scenes(exported: tuple[Path, Net, str]) -> None:
    folder, net, _ = exported
    frames = red_squares(7, 9).frames
    got, wanted = predict_exported(folder, frames, SCHEMA), predict(net, frames, SCHEMA)
    for column in wanted:
        np.testing.assert_allclose(got[column], wanted[column], atol=2e-3)


def test_a_vehicle_frame_by_frame_perceives_what_the_whole_net_does(exported: tuple[Path, Net, str]) -> None:
    folder, net, digest = exported
    runner = OnnxRunner.load(folder, SCHEMA)
    assert runner.digest == digest
    frames = red_squares(6, 9).frames[:, 0]  # six different single frames
    for at in range(6):
        one, two = runner.infer(["a", "b"], np.stack([frames[at], frames[5 - at]]))
    last = predict(net, np.stack([frames[4:6], frames[1::-1]]), SCHEMA)
    for column in last:
        np.testing.assert_allclose(one[column], last[column][0], atol=2e-3)
        np.testing.assert_allclose(two[column], last[column][1], atol=2e-3)


def test_a_forgotten_vehicle_begins_anew(exported: tuple[Path, Net, str]) -> None:
    runner = OnnxRunner.load(exported[0], SCHEMA)
    frames = red_squares(2, 9).frames[:, 0]
    fresh = runner.infer(["a"], frames[1:])[0]
    runner.infer(["b"], frames[:1])
    runner.forget("b")
    again = runner.infer(["b"], frames[1:])[0]
    for column in fresh:
        np.testing.assert_array_equal(fresh[column], again[column])


def test_every_output_becomes_its_signals(exported: tuple[Path, Net, str]) -> None:
    outputs = {
        "sign.is_sign": np.array([0.2], np.float32), "sign.applies": np.array([0.9], np.float32),
        "sign.traits": np.array([0.1, 0.7], np.float32), "sign.distance": np.array([12.0], np.float32),
        "light.state": np.array([0.3, 0.7], np.float32),
    }  # fmt: skip
    signals = perceived_signals(SCHEMA, outputs, "Shadow")
    assert signals["Shadow.Light.State"] == "red"
    assert signals["Shadow.Light.StateScore"] == pytest.approx(0.7)
    assert signals["Shadow.Sign.Hidden"] == pytest.approx(0.7)
    assert "Shadow.Sign.Distance" not in signals  # there more likely is no sign
    outputs["sign.is_sign"][0] = 0.8
    assert perceived_signals(SCHEMA, outputs, "Shadow")["Shadow.Sign.Distance"] == 12.0


@pytest.mark.parametrize("name", VEHICLE_FILES)
def test_a_damaged_model_is_refused_and_named(exported: tuple[Path, Net, str], tmp_path: Path, name: str) -> None:
    for file in VEHICLE_FILES:
        content = (exported[0] / file).read_bytes()
        (tmp_path / file).write_bytes(content[: len(content) // 2] if file == name else content)
    with pytest.raises(ModelError, match=name):
        OnnxRunner.load(tmp_path, SCHEMA)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=name):
        OnnxRunner.load(tmp_path, SCHEMA)


def test_a_model_of_another_schema_is_refused(exported: tuple[Path, Net, str], tmp_path: Path) -> None:
    for file in VEHICLE_FILES:
        (tmp_path / file).write_bytes((exported[0] / file).read_bytes())
    (tmp_path / "card.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ModelError, match="schema version 99"):
        OnnxRunner.load(tmp_path, SCHEMA)

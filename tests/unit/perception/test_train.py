"""Training learns what is there to learn, and goes on after a kill as if nothing had happened."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.unit.perception.nets import RECIPE, SCHEMA, red_squares

from perception.data import Samples
from perception.evaluate import decisions
from perception.inference import predict
from perception.train import CHECKPOINT, loss_of, remembered, train, with_dead_cameras


def test_a_net_learns_to_see_red_squares() -> None:
    trained = train(red_squares(200, 1), SCHEMA, RECIPE, seed=1)
    test = red_squares(60, 2)
    said = decisions(SCHEMA, predict(trained.net, test.frames, SCHEMA))["sign"]
    wanted = decisions(SCHEMA, test.targets)["sign"]
    assert (said == wanted).mean() > 0.9


def test_the_same_seed_trains_the_same_net_and_another_does_not() -> None:
    recipe = RECIPE.model_copy(update={"steps": 5})
    samples = red_squares(40, 1)
    first, again, other = (train(samples, SCHEMA, recipe, seed).net.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perception.train.CHECKPOINT_PERIOD_S", -1.0)  # after every step
    recipe = RECIPE.model_copy(update={"steps": 12})
    samples = red_squares(40, 1)
    whole = train(samples, SCHEMA, recipe, 3, clock=lambda: 0.0)

    class KilledError(Exception):
        pass

    def kill(step: int, loss: float) -> None:
        if step == 8:
            raise KilledError

    with pytest.raises(KilledError):
        train(samples, SCHEMA, recipe, 3, folder=tmp_path, report=kill, clock=lambda: 0.0)
    assert (tmp_path / CHECKPOINT).exists()
    steps: list[int] = []
    resumed = train(
        samples, SCHEMA, recipe, 3, folder=tmp_path, report=lambda step, loss: steps.append(step), clock=lambda: 0.0
    )
    assert steps[0] == 8
    for name, value in whole.net.state_dict().items():
        torch.testing.assert_close(resumed.net.state_dict()[name], value)


def test_unknown_answers_train_nothing() -> None:
    samples = red_squares(8, 1)
    outputs = {
        column: torch.zeros(8, head.width, requires_grad=True) for column, (_, head) in SCHEMA.columns().items()
    }
    targets = {column: torch.full((8, values.shape[1]), torch.nan) for column, values in samples.targets.items()}
    assert float(loss_of(outputs, targets, SCHEMA, RECIPE)) == 0.0


def test_a_head_that_is_asked_of_signs_learns_nothing_where_there_is_none() -> None:
    samples = red_squares(8, 1)
    targets = {column: torch.from_numpy(values) for column, values in samples.targets.items()}
    targets = {column: values[targets["sign.is_sign"][:, 0] == 0] for column, values in targets.items()}
    rows = len(targets["sign.is_sign"])
    outputs = {
        column: torch.zeros(rows, head.width, requires_grad=True) for column, (_, head) in SCHEMA.columns().items()
    }
    loss_of(outputs, targets, SCHEMA, RECIPE).backward()
    assert outputs["sign.applies"].grad is None and outputs["sign.distance"].grad is None
    gradient = outputs["sign.is_sign"].grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


def test_the_schedule_ends_when_the_time_is_up() -> None:
    ticks = iter(np.arange(0, 1e6, 10.0).tolist())
    trained = train(red_squares(20, 1), SCHEMA, RECIPE, 1, clock=lambda: float(next(ticks)))
    assert trained.steps < 10


def test_what_depends_on_a_remembered_answer_is_trained_where_that_answer_is_more_likely_true() -> None:
    """A remembered answer is a probability: the distance of a sign that is there with 97 % used to be forgotten."""
    targets = {
        column: torch.full((2, head.target_width), torch.nan) for column, (_, head) in SCHEMA.columns().items()
    }
    targets["sign.is_sign"] = torch.tensor([[0.97], [0.2]])
    targets["sign.distance"] = torch.tensor([[12.0], [20.0]])
    outputs = {
        column: torch.zeros(2, head.width, requires_grad=True) for column, (_, head) in SCHEMA.columns().items()
    }
    loss_of(outputs, targets, SCHEMA, RECIPE).backward()
    gradient = outputs["sign.distance"].grad
    assert gradient is not None and gradient[0] != 0 and gradient[1] == 0


def test_one_camera_is_black_in_a_share_of_the_scenes() -> None:
    whole = torch.from_numpy(red_squares(400, 1).frames)
    dead = with_dead_cameras(whole.clone(), 0.25, np.random.default_rng(1))
    black = (dead == 0).flatten(3).all(3).all(1)  # [scenes, cameras]
    assert set(black.sum(1).tolist()) == {0, 1} and 70 < int(black.any(1).sum()) < 130
    assert black.any(0).all(), "each camera at times"
    assert torch.equal(dead[~black.any(1)], whole[~black.any(1)])
    assert torch.equal(with_dead_cameras(whole.clone(), 0.0, np.random.default_rng(1)), whole)


def test_training_with_dead_cameras_leaves_the_dataset_as_it_is() -> None:
    samples = red_squares(40, 1)
    train(samples, SCHEMA, RECIPE.model_copy(update={"dead_cameras": 0.5, "steps": 3}), 1)
    assert np.array_equal(samples.frames, red_squares(40, 1).frames)


def test_only_what_no_one_answered_is_remembered_of_the_parent() -> None:
    samples = red_squares(6, 1)
    rng = np.random.default_rng(2)
    parent = {
        column: rng.random((6, head.width)).astype(np.float32) for column, (_, head) in SCHEMA.columns().items()
    }
    parent["light.state"] = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]] * 2, np.float32)
    targets = dict(samples.targets)
    targets["light.state"] = np.full((6, 1), np.nan, np.float32)
    targets["sign.is_sign"][2:] = np.nan
    filled = remembered(targets, parent, SCHEMA)
    np.testing.assert_array_equal(filled["light.state"][:3, 0], [0, np.nan, 1])
    np.testing.assert_array_equal(filled["sign.is_sign"][:2], samples.targets["sign.is_sign"][:2])
    np.testing.assert_array_equal(filled["sign.is_sign"][2:], parent["sign.is_sign"][2:])
    for column, known in targets.items():
        answered = ~np.isnan(known)
        np.testing.assert_array_equal(filled[column][answered], known[answered])


def test_a_net_that_remembers_does_not_forget_a_task_that_no_sample_answers(tmp_path: Path) -> None:
    """A parent that knows signs is trained on pictures of them in which only the lights are answered, at random."""
    samples = red_squares(80, 3)
    parent = train(samples, SCHEMA, RECIPE, 1)
    save_file(parent.net.state_dict(), tmp_path / "parent.safetensors")
    rng = np.random.default_rng(4)
    unknown = {column: np.full_like(values, np.nan) for column, values in samples.targets.items()}
    unknown["light.state"] = rng.integers(0, 2, (80, 1)).astype(np.float32)
    later = Samples(samples.frames, unknown, samples.slices, [""] * 80)
    frames, actual = red_squares(80, 5).frames, decisions(SCHEMA, red_squares(80, 5).targets)["sign"]
    right = {}
    for remember in (False, True):
        recipe = RECIPE.model_copy(update={"start": "parent", "remember": remember})
        net = train(later, SCHEMA, recipe, 2, parent=tmp_path / "parent.safetensors").net
        right[remember] = float((decisions(SCHEMA, predict(net, frames, SCHEMA))["sign"] == actual).mean())
    assert right[True] > 0.9
    assert right[True] >= right[False]

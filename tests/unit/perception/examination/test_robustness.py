"""What a candidate loses in damaged pictures refuses it, and damages do what their names say."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.perception.nets import SCHEMA

from perception.examination.plan import Robustness
from perception.examination.robustness import Frames, chosen_scenes, damages, examine_damaged

PLAN = Robustness()
ERROR = 0.01


def frames_of(seed: int = 1, count: int = 3) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 16, 16, 3)).astype(np.uint8)


def damaged(name: str, frames: Frames, plan: Robustness = PLAN) -> Frames:
    return damages(SCHEMA, plan, seed=1)[name](frames)


def test_every_camera_has_its_own_damage_and_nothing_changes_the_original() -> None:
    assert list(damages(SCHEMA, PLAN, 1)) == [
        "ahead dead", "behind dead", "noise", "blur", "darkness", "mount to the left", "mount upwards",
    ]  # fmt: skip
    for name in damages(SCHEMA, PLAN, 1):
        frames = frames_of()
        changed = damaged(name, frames)
        assert np.array_equal(frames, frames_of()) and changed.shape == frames.shape and changed.dtype == np.uint8
        assert not np.array_equal(changed, frames), name
        assert np.array_equal(changed, damaged(name, frames)), "the same for every model"


def test_a_dead_camera_is_black_and_the_other_unchanged() -> None:
    frames = frames_of()
    dead = damaged("behind dead", frames)
    assert not dead[:, :, 1].any() and np.array_equal(dead[:, :, 0], frames[:, :, 0])


def test_a_mount_that_turns_by_a_pixel_moves_the_picture_by_a_pixel() -> None:
    degrees_of_a_pixel = 60 / 16  # hfov of the small schema's cameras by their width
    frames = frames_of()
    left = damaged("mount to the left", frames, Robustness(mount_deg=degrees_of_a_pixel))
    assert np.array_equal(left[..., 1:, :], frames[..., :-1, :]) and np.array_equal(
        left[..., 0, :], frames[..., 0, :]
    )
    up = damaged("mount upwards", frames, Robustness(mount_deg=degrees_of_a_pixel))
    assert np.array_equal(up[:, :, :, 1:], frames[:, :, :, :-1])
    half = damaged("mount to the left", frames, Robustness(mount_deg=degrees_of_a_pixel / 2)).astype(int)
    mean = (frames[..., 1:, :].astype(int) + frames[..., :-1, :]) // 2
    assert np.abs(half[..., 1:, :] - mean).max() <= 1


def test_blur_and_darkness_keep_an_even_picture_even() -> None:
    even = np.full((1, 2, 2, 16, 16, 3), 100, np.uint8)
    assert (damaged("blur", even) == 100).all()
    assert (damaged("darkness", even) == 40).all()
    assert abs(damaged("noise", even).mean() - 100) < 1


def test_a_candidate_that_is_blind_with_one_camera_dead_is_refused() -> None:
    rng = np.random.default_rng(2)
    right = (rng.random(300) < 0.8).astype(float)
    before = {name: {"sign": right, "sign.traits": right} for name in ("ahead dead", "noise")}
    assert examine_damaged(before, before, PLAN, ERROR).passed
    blind = {**before, "ahead dead": {"sign": right * (rng.random(300) < 0.6), "sign.traits": right}}
    verdict = examine_damaged(before, blind, PLAN, ERROR)
    assert not verdict.passed and verdict.reasons[0].startswith("sign with ahead dead: ")
    assert examine_damaged(blind, before, PLAN, ERROR).passed, "a gain is no loss"


def test_a_loss_within_the_margin_is_allowed() -> None:
    right = np.ones(1000)
    now = right.copy()
    now[:40] = 0
    assert examine_damaged({"noise": {"sign": right}}, {"noise": {"sign": now}}, PLAN, ERROR).passed
    assert not examine_damaged(
        {"noise": {"sign": right}}, {"noise": {"sign": now}}, Robustness(margin=0.0), ERROR
    ).passed


@pytest.mark.parametrize("answers", [{}, {"noise": {}}, {"noise": {"sign": np.full(5, np.nan)}}])
def test_no_answers_are_not_passed(answers: dict[str, dict[str, np.ndarray]]) -> None:
    verdict = examine_damaged(answers, answers, PLAN, ERROR)
    assert not verdict.passed and verdict.reasons[0].startswith("Nothing to examine")


def test_scenes_are_chosen_once_for_all_models() -> None:
    chosen = chosen_scenes(100, 30, seed=4)
    assert len(set(chosen.tolist())) == 30 and list(chosen) == sorted(chosen)
    assert np.array_equal(chosen, chosen_scenes(100, 30, seed=4))
    assert list(chosen_scenes(5, 30, seed=4)) == [0, 1, 2, 3, 4]

"""Scenes of a labelled set: every slice is what it says, twice the same, at places of its own."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.domain.tasks import load_task_schema
from fleetloop.worlds.town.labelled import RARE_SLICES, TEST_SLICES, TEST_TOWN_SEED, Scenes, sample

SCHEMA = load_task_schema(Path("config/tasks.yaml"))
CHOICE = {"leaves": "occluded", "placard": "placard", "held": "held", "truck": "on_vehicle", "plain": "plain"}


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return sample(SCHEMA, TEST_TOWN_SEED, dict.fromkeys(TEST_SLICES, 4), np.random.default_rng(3))


def test_the_answer_of_a_scene_is_that_of_its_slice(scenes: Scenes) -> None:
    for name, choice, heads in zip(scenes.slices, scenes.choices, scenes.answers, strict=True):
        assert choice == CHOICE.get(name.removeprefix("night_"), "none")
        SCHEMA.encode(heads)
        told = SCHEMA.encode({"stop_sign": heads["stop_sign"]})
        chosen = SCHEMA.encode_choice("stop_sign", choice)
        for column in chosen:
            np.testing.assert_array_equal(told[column], chosen[column])


def test_the_same_seeds_paint_the_same_pictures(scenes: Scenes) -> None:
    again = sample(SCHEMA, TEST_TOWN_SEED, dict.fromkeys(TEST_SLICES, 4), np.random.default_rng(3))
    np.testing.assert_array_equal(again.frames, scenes.frames)
    assert again.places == scenes.places


def test_no_place_is_shown_twice(scenes: Scenes) -> None:
    assert len(set(scenes.places)) == len(scenes.places)


def test_night_is_dark_and_day_is_not(scenes: Scenes) -> None:
    for name, frames in zip(scenes.slices, scenes.frames, strict=True):
        assert (frames.mean() < 60) == name.startswith("night_")


def test_each_rare_slice_differs_from_a_plain_sign_in_what_a_front_camera_shows(scenes: Scenes) -> None:
    plain = np.mean([f[-1, 0] for f, n in zip(scenes.frames, scenes.slices, strict=True) if n == "plain"], axis=0)
    for rare in RARE_SLICES:
        seen = np.mean([f[-1, 0] for f, n in zip(scenes.frames, scenes.slices, strict=True) if n == rare], axis=0)
        assert np.abs(seen - plain).mean() > 3, rare

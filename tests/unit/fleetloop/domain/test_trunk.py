"""The frozen trunk never changes; embeddings are near for the same scene and far for another."""

from pathlib import Path

import numpy as np
import pytest

from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import NEAR_DUPLICATE, load_trunk
from fleetloop.worlds.town.labelled import sample

TRUNK = load_trunk()
SCENES = sample(
    load_task_schema(Path("config/tasks.yaml")), 500, {"plain": 20, "none": 20}, np.random.default_rng(2)
).frames


def test_embeddings_are_unit_vectors_of_the_width_promised() -> None:
    embedding = TRUNK.embed(SCENES[0])
    assert embedding.shape == (TRUNK.width,) and embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)


FROZEN = [-0.0456352, 0.0240145, 0.0498802, -0.0075051]


def test_the_projection_is_the_one_that_stored_embeddings_were_made_with() -> None:
    frames = (np.arange(3 * 2 * 32 * 32 * 3).reshape(3, 2, 32, 32, 3) * 7 % 251).astype(np.uint8)
    np.testing.assert_allclose(TRUNK.embed(frames)[:4], FROZEN, atol=1e-5)


def test_noise_and_less_light_leave_a_scene_near_and_other_scenes_are_far() -> None:
    rng = np.random.default_rng(1)
    embeddings = np.stack([TRUNK.embed(frames) for frames in SCENES])
    noisy = np.clip(SCENES + rng.normal(0, 4, SCENES.shape), 0, 255).astype(np.uint8)
    darker = (SCENES * 0.85).astype(np.uint8)
    for changed in (noisy, darker):
        near = [float(one @ TRUNK.embed(frames)) for one, frames in zip(embeddings, changed, strict=True)]
        assert min(near) > NEAR_DUPLICATE
    between = embeddings @ embeddings.T
    assert between[~np.eye(len(between), dtype=bool)].max() < NEAR_DUPLICATE


def test_frames_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="frames"):
        TRUNK.embed(SCENES[0, 0])

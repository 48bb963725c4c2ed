"""Training that takes seconds: a tiny net, coloured pictures that it can learn, and the policy that starts it.

Everything between the labelled set and the signed model is the real thing; only net and pictures are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from fleetloop.domain.labelled_set import LabelledRow, write_labelled_set
from fleetloop.domain.tasks import TaskSchema

DATASET, TEST_SET = "small", "small-test"
FIRST, MORE = "small-first.yaml", "small-more.yaml"
COLOURS = {"none": (0, 0, 200), "plain": (200, 0, 0), "held": (0, 200, 200)}
"""What a scene of each slice shows. A net that has seen no `held` takes it for `none`."""
_SIGN = {"is_sign": 1, "applies": 1}


def write_small_training(config: Path) -> None:
    """Two recipes and a policy beside the shipped ones, and an examination without drives and darkness.

    A net of coloured pictures cannot drive, and tells nothing apart in the dark.
    """
    examination = yaml.safe_load((config / "examination.yaml").read_text())
    examination["closed_loop"]["world"], examination["robustness"]["darkness"] = "none", 1
    (config / "examination.yaml").write_text(yaml.safe_dump(examination))
    recipe = {
        "width": 16, "blocks": 1, "attention_heads": 2, "steps": 250, "max_seconds": 600, "batch": 8,
        "learning_rate": 0.004, "warmup_steps": 5, "averaging": 0.9, "threads": 1, "hard_fraction": 0.0,
        "stems": {
            "front": {"channels": [4], "first_stride": 8, "tokens": 1},
            "surround": {"channels": [4], "first_stride": 8, "tokens": 1},
        },
    }  # fmt: skip
    for file, start in ((FIRST, "scratch"), (MORE, "parent")):
        (config / "recipes" / file).write_text(yaml.safe_dump({"name": file, "start": start, **recipe}))
    policies = yaml.safe_load((config / "training.yaml").read_text())
    policies["datasets"][DATASET] = {
        "test_set": TEST_SET, "first_recipe": FIRST, "recipe": MORE, "new_samples": 40, "attempts": 6,
    }  # fmt: skip
    (config / "training.yaml").write_text(yaml.safe_dump(policies))


def labelled_set(folder: Path, schema: TaskSchema, counts: dict[str, int], seed: int) -> Path:
    """A folder with so many scenes of each slice, no two alike."""
    write_labelled_set(folder, _scenes(schema, counts, np.random.default_rng(seed), folder.name))
    return folder


def _scenes(
    schema: TaskSchema, counts: dict[str, int], chance: np.random.Generator, name: str
) -> Iterator[LabelledRow]:
    camera = schema.cameras[0]
    shape = (schema.frames.count, len(schema.cameras), camera.height, camera.width, 3)
    for kind, count in counts.items():
        for number in range(count):
            noise = chance.integers(0, 40, shape, dtype=np.uint8)
            yield LabelledRow(
                sample_id=f"{name}-{kind}-{number}",
                frames=noise + np.array(COLOURS[kind], dtype=np.uint8),
                answers={"stop_sign": {"is_sign": 0} if kind == "none" else _SIGN},
                choice=kind,
                slice=kind,
                place="",
                moment_utc_ns=1,
            )

"""A small schema and recipe, so that a net trains in a second."""

import numpy as np

from fleetloop.domain.tasks import TaskSchema, parse_task_schema
from perception.data import Samples
from perception.recipe import Recipe, Stem

SCHEMA: TaskSchema = parse_task_schema("""
version: 3
name: small
cameras:
  - {name: ahead, kind: front, width: 16, height: 16}
  - {name: behind, kind: surround, width: 16, height: 16}
frames: {past: 1}
tasks:
  - name: sign
    question: Is there one?
    heads:
      - {name: is_sign, kind: binary}
      - {name: applies, kind: binary, given: is_sign}
      - {name: traits, kind: multilabel, classes: [held, hidden]}
      - {name: distance, kind: scalar, given: is_sign, unit: m, scale: 30}
    decision: [is_sign, applies]
    answers:
      - {name: plain, text: "Yes", heads: {is_sign: 1, applies: 1, traits: []}}
      - {name: none, text: "No", heads: {is_sign: 0, traits: []}}
  - name: light
    question: Which?
    heads: [{name: state, kind: categorical, classes: [none, red]}]
""")
RECIPE = Recipe(
    name="small", start="scratch", width=16, blocks=1, attention_heads=2,
    stems={"front": Stem(channels=(8, 16), tokens=2), "surround": Stem(channels=(8,), first_stride=4, tokens=1)},
    steps=60, max_seconds=60, batch=16, learning_rate=0.01, warmup_steps=5, averaging=0.9, threads=1,
)  # fmt: skip


def red_squares(count: int, seed: int) -> Samples:
    """A red square somewhere ahead is a sign that applies; the lights are unknown in half of the scenes."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(90, 130, (count, 2, 2, 16, 16, 3)).astype(np.uint8)
    signs = rng.random(count) < 0.5
    for row in np.flatnonzero(signs):
        x, y = rng.integers(0, 12, 2)
        frames[row, :, 0, y : y + 4, x : x + 4] = (230, 20, 20)
    encoded = [
        SCHEMA.encode(
            {
                "sign": {"is_sign": int(sign), "applies": 1, "traits": [], "distance": 12.0} if sign
                else {"is_sign": 0, "traits": []},
                **({"light": {"state": "none"}} if row % 2 else {}),
            }
        )
        for row, sign in enumerate(signs)
    ]  # fmt: skip
    targets = {column: np.stack([answer[column] for answer in encoded]) for column in SCHEMA.columns()}
    return Samples(frames, targets, ["plain" if sign else "none" for sign in signs], [""] * count)

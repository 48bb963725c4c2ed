"""Writes labelled sets of the simulated town.

    python -m fleetloop.worlds.town.export_labelled --out DIR --kind plain|test --count N --seed S

A loop starts from `plain`: common scenes by day. Models are evaluated on `test`, which has the same number of scenes
of every slice. The two come from different towns, and no fleet drives in any of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fleetloop.domain.labelled_set import LabelledRow, write_labelled_set
from fleetloop.domain.tasks import TaskSchema, load_task_schema
from fleetloop.worlds.town.fleet import START_UTC_NS
from fleetloop.worlds.town.labelled import (
    PLAIN_TOWN_SEED,
    TEST_SLICES,
    TEST_TOWN_SEED,
    plain_counts,
    sample,
    test_counts,
)

_TOWNS_PER_SEED = 100


def labelled_rows(schema: TaskSchema, kind: str, count: int, seed: int) -> Iterator[LabelledRow]:
    """Yield `count` scenes, the same for the same seed. Raises ValueError for an unknown kind.

    With kind `test`, the number is rounded up so that all slices have equally many scenes.
    """
    if kind not in ("plain", "test"):
        raise ValueError(f"kind: {kind!r} is neither plain nor test")
    counts = plain_counts(count) if kind == "plain" else test_counts(-(-count // len(TEST_SLICES)))
    towns = (PLAIN_TOWN_SEED if kind == "plain" else TEST_TOWN_SEED) + seed * _TOWNS_PER_SEED
    scenes = sample(schema, towns, counts, np.random.default_rng((towns, count)))
    for number in range(min(count, len(scenes.slices)) if kind == "plain" else len(scenes.slices)):
        yield LabelledRow(
            sample_id=f"{kind}-{seed}-{number:05d}",
            frames=scenes.frames[number],
            answers=scenes.answers[number],
            choice=scenes.choices[number],
            slice=scenes.slices[number],
            place=scenes.places[number],
            moment_utc_ns=START_UTC_NS + scenes.times_ns[number],
        )


def main(arguments: list[str] | None = None) -> int:
    """Write the set and return the exit code."""
    parser = argparse.ArgumentParser(description="Write an already labelled set of the simulated town.")
    parser.add_argument("--out", type=Path, required=True, help="folder; created if it does not exist")
    parser.add_argument("--kind", choices=["plain", "test"], required=True)
    parser.add_argument("--count", type=int, required=True, help="scenes in total; test rounds up to full slices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schema", type=Path, default=Path("config/tasks.yaml"))
    given = parser.parse_args(arguments)
    rows = labelled_rows(load_task_schema(given.schema), given.kind, given.count, given.seed)
    sys.stdout.write(f"{write_labelled_set(given.out, rows)} scenes in {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

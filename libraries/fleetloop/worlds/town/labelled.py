"""Scenes with their answers: the plain cases of the first dataset, and the frozen test set of every slice.

Why it exists: the loop starts from a labelled set of plain cases and is judged by a set that never changes. Both
come from towns whose seeds the fleet never drives, and both are written as an already labelled set (a folder that
`fleetloop datasets import` takes and that is described in `fleetloop.domain.labelled_set`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetloop.domain.tasks import HeadValue, TaskSchema
from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND
from fleetloop.worlds.town.render import Pictures, Renderer, View
from fleetloop.worlds.town.scene import truth, view
from fleetloop.worlds.town.streets import Street, Town
from fleetloop.worlds.world import FrameTruth

PLAIN_TOWN_SEED = 700_000
TEST_TOWN_SEED = 900_000
"""Towns from these numbers on are kept for data; fleets drive in towns below 700,000."""
CAMERA_PERIOD_S = 0.5
_NEIGHBOURS = 50
RARE_SLICES = ("night_plain", "leaves", "placard", "held", "truck")
TEST_SLICES = ("none", "plain", "light", *RARE_SLICES, "night_leaves", "night_placard", "night_held", "night_truck")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Labelled inputs of the net, in parallel lists."""

    frames: Pictures
    """[n, frames, cameras, height, width, 3], oldest frame first."""
    answers: list[Mapping[str, Mapping[str, HeadValue]]]
    choices: list[str]
    """Of the task stop_sign."""
    slices: list[str]
    places: list[str]
    times_ns: list[int]


def sample(schema: TaskSchema, town_seed: int, counts: Mapping[str, int], rng: np.random.Generator) -> Scenes:
    """`counts` scenes of each slice, every one at a place of its own in the towns from `town_seed` on.

    A slice is a kind of approach (`none` for nothing in sight), with `night_` before it at night.
    """
    renderer = Renderer(schema.cameras)
    # What stands behind and beyond belongs to a scene too: a net that never saw it takes it for something else.
    around = Town.generate(town_seed + _NEIGHBOURS)
    views: list[View] = []
    answers: list[Mapping[str, Mapping[str, HeadValue]]] = []
    choices: list[str] = []
    slices: list[str] = []
    places: list[str] = []
    times: list[int] = []
    for index, (name, count) in enumerate(sorted(counts.items())):
        kind, night = name.removeprefix("night_"), name.startswith("night_")
        mix = {"open": 3.0, "light": 1.0, "plain": 1.0} if kind == "none" else {kind: 1.0}
        size = int(np.ceil(np.sqrt(max(count, 1) / 4))) + 1
        town = Town.generate(town_seed + index, mix=mix, size=size)
        corners = rng.permutation(size * size * 4)[:count]
        for number in corners:
            street = town.street(int(number) // 4 % size, int(number) // 4 // size, int(number) % 4)
            moment_s = float(rng.uniform(0, 3600))
            frames, told = _approach(
                schema, street, _neighbours(around, rng), rng, moment_s, nothing=kind == "none", night=night
            )
            views += frames
            answers.append(told.heads)
            choices.append(told.answers["stop_sign"])
            slices.append(name)
            places.append(street.place)
            times.append(int(moment_s * NANOSECONDS_PER_SECOND))
    pictures = np.concatenate([renderer.render(views[i : i + 64]) for i in range(0, len(views), 64)])
    frames_each = schema.frames.count
    return Scenes(pictures.reshape(-1, frames_each, *pictures.shape[1:]), answers, choices, slices, places, times)


def _approach(
    schema: TaskSchema,
    street: Street,
    neighbours: tuple[Street, Street],
    rng: np.random.Generator,
    moment_s: float,
    *,
    nothing: bool,
    night: bool,
) -> tuple[list[View], FrameTruth]:
    """The frames up to a moment on this street at which its thing is in sight (or nothing is), and the answers."""
    approach = street.approach
    speed_mps = float(rng.uniform(2.0, 8.6))
    light = night_light(rng) if night else day_light(rng)
    while True:
        if nothing:
            along = float(rng.uniform(12, approach.length_m - 2))
        elif approach.kind == "truck":
            along = float(rng.uniform(12, approach.length_m - 33))
        elif approach.kind == "leaves":
            along = approach.sign_m - float(rng.uniform(10, 19))
        else:
            along = approach.sign_m - float(rng.uniform(7.5, 20))
        told = truth(street, along_m=along, time_s=moment_s, night=night)
        if (
            told.slice.removeprefix("night_") == ("none" if nothing else approach.kind)
            and "stop_sign" in told.answers
        ):
            break
    left_m = float(rng.normal(0, 0.15))
    step_s = CAMERA_PERIOD_S * schema.frames.stride
    views = [
        view(
            street, *neighbours,
            along_m=max(1.0, along - speed_mps * step_s * back),
            left_m=left_m,
            time_s=moment_s - step_s * back,
            light=light,
            noise_seed=int(rng.integers(1 << 30)),
        )
        for back in range(schema.frames.past, -1, -1)
    ]  # fmt: skip
    return views, told


def _neighbours(town: Town, rng: np.random.Generator) -> tuple[Street, Street]:
    """The streets behind and ahead, as a route would have them."""
    behind, ahead = (town.street(*rng.integers((town.size, town.size, 4)).tolist()) for _ in range(2))
    return behind, ahead


def day_light(rng: np.random.Generator) -> float:
    """Brightness of a daytime drive."""
    return float(rng.uniform(0.75, 1.05))


def night_light(rng: np.random.Generator) -> float:
    """Brightness of a drive at night, between street lamps."""
    return float(rng.uniform(0.10, 0.17))


def plain_counts(total: int) -> dict[str, int]:
    """The first dataset: plain cases by day only."""
    return {"none": total // 2, "plain": total // 3, "light": total - total // 2 - total // 3}


def test_counts(each: int, slices: Sequence[str] = TEST_SLICES) -> dict[str, int]:
    """The frozen test set: as many of every slice."""
    return dict.fromkeys(slices, each)

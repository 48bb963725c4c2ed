"""The gate on damaged pictures: a dead camera, noise, blur, darkness, a mount that shifted.

Candidate and model in the field answer the same damaged scenes. What a candidate loses beyond a margin refuses it,
whatever it gained in whole pictures.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.tasks import Camera, TaskSchema
from perception.evaluate import Correct
from perception.examination.plan import Robustness
from perception.examination.statistics import holm, p_loss_is_small
from perception.examination.verdict import Verdict

Frames = NDArray[np.uint8]
"""[n, T, C, H, W, 3]"""
Damage = Callable[[Frames], Frames]


def damages(schema: TaskSchema, plan: Robustness, seed: int) -> dict[str, Damage]:
    """Every damage by its name, as a function that returns damaged copies of frames.

    Args:
        schema: Names and mounting of the cameras.
        plan: How strong the damages are.
        seed: Of the noise.
    """
    dead = {f"{camera.name} dead": _dead(number) for number, camera in enumerate(schema.cameras)}
    return {
        **dead,
        "noise": lambda frames: _noisy(frames, plan.noise, seed),
        "blur": _blurred,
        "darkness": lambda frames: (frames * np.float32(plan.darkness)).astype(np.uint8),
        "mount to the left": lambda frames: _turned(frames, schema.cameras, plan.mount_deg, axis=4),
        "mount upwards": lambda frames: _turned(frames, schema.cameras, plan.mount_deg, axis=3),
    }


def chosen_scenes(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of `count` scenes, in their order, the same for the same seed."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def examine_damaged(
    before: Mapping[str, Correct], now: Mapping[str, Correct], plan: Robustness, error: float
) -> Verdict:
    """A model passes if no task was lost beyond the margin under any damage.

    Only what a task decides is compared, not its other heads: with fewer comparisons, smaller losses are seen.

    Args:
        before: By damage, which answers of the model in the field are correct.
        now: Those of the candidate, of the same scenes.
        plan: The margin.
        error: Probability that a model is refused that lost no more than the margin.
    """
    compared = {
        (damage, question): (parent[known], candidate[known])
        for damage in now
        for question in now[damage]
        if question in before.get(damage, {}) and "." not in question
        for parent, candidate in ((before[damage][question], now[damage][question]),)
        if (known := ~np.isnan(parent) & ~np.isnan(candidate)).any()
    }
    if not compared:
        return Verdict(False, ["Nothing to examine: no damaged scene has an answer."])
    lost = holm({key: p_loss_is_small(*pair, plan.margin) for key, pair in compared.items()}, error)
    reasons = [
        f"{question} with {damage}: {100 * compared[damage, question][0].mean():.1f} to "
        f"{100 * compared[damage, question][1].mean():.1f} % of {len(compared[damage, question][0])} scenes, more "
        f"than {100 * plan.margin:g} points."
        for damage, question in lost
    ]
    return Verdict(not lost, reasons or [_least(compared, plan)])


def _least(compared: Mapping[tuple[str, str], Sequence[NDArray[np.float64]]], plan: Robustness) -> str:
    (damage, question), (before, now) = max(
        compared.items(), key=lambda item: float(item[1][0].mean() - item[1][1].mean())
    )
    count = len({name for name, _ in compared})
    return (
        f"No question of {count} damages was lost by more than {100 * plan.margin:g} points; closest was {question} "
        f"with {damage}, {100 * before.mean():.1f} to {100 * now.mean():.1f} %."
    )


def _dead(number: int) -> Damage:
    def dead(frames: Frames) -> Frames:
        black = frames.copy()
        black[:, :, number] = 0
        return black

    return dead


def _noisy(frames: Frames, sigma: float, seed: int) -> Frames:
    noise = np.random.default_rng(seed).normal(0, sigma, frames.shape).astype(np.float32)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def _blurred(frames: Frames) -> Frames:
    """A kernel of 1, 2, 1 in both directions; the border repeats."""
    soft = frames.astype(np.float32)
    for axis in (3, 4):
        before, after = _moved(soft, axis, -1), _moved(soft, axis, 1)
        soft = (before + 2 * soft + after) / np.float32(4)
    return soft.astype(np.uint8)


def _turned(frames: Frames, cameras: Sequence[Camera], degrees: float, axis: int) -> Frames:
    """All cameras turned by some degrees: their pictures move the other way, by parts of a pixel, the border repeats.

    `axis` is 4 to the left, for which pictures move to the right, and 3 upwards, for which they move down.
    """
    turned = frames.copy()
    for number, camera in enumerate(cameras):
        pixels = degrees * camera.width / camera.hfov_deg
        picture = frames[:, :, number : number + 1].astype(np.float32)
        whole, part = int(pixels), pixels - int(pixels)
        near, far = _moved(picture, axis, whole), _moved(picture, axis, whole + 1)
        turned[:, :, number : number + 1] = ((1 - part) * near + part * far).astype(np.uint8)
    return turned


def _moved(values: NDArray[np.float32], axis: int, by: int) -> NDArray[np.float32]:
    indices = np.clip(np.arange(values.shape[axis]) - by, 0, values.shape[axis] - 1)
    return np.take(values, indices, axis)

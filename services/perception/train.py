"""The training loop, with checkpoints from which a killed job resumes exactly.

A batch depends only on the seed and the step's number, so a resumed run draws the batches that an uninterrupted one
would.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.atomic_file import replacing
from perception.data import BatchSampler, Samples
from perception.inference import predict
from perception.model import Net
from perception.recipe import Recipe

SURE = 0.8
"""Probability from which on the parent's category is remembered."""
CHECKPOINT, NOTES = "checkpoint.safetensors", "step"
CHECKPOINT_PERIOD_S = 5.0
Report = Callable[[int, float], None]
"""Called with the number of steps done and the loss of the last one."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of training."""

    net: Net
    """The net with averaged weights, in evaluation mode."""
    loss: float
    steps: int


def loss_of(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], schema: TaskSchema, recipe: Recipe
) -> Tensor:
    """Return the weighted sum over all columns of the mean loss of known answers, a scalar."""
    total = torch.zeros(())
    for column, (task, head) in schema.columns().items():
        target, raw = targets[column], outputs[column]
        known = ~target.isnan().any(1)
        if head.given is not None:
            # A remembered answer is a probability, which is never quite 1.
            known &= targets[f"{task.name}.{head.given}"][:, 0] > 0.5
        if not bool(known.any()):
            continue
        target, raw = target[known], raw[known]
        if head.kind == "categorical":
            part = F.cross_entropy(raw, target[:, 0].long(), label_smoothing=recipe.label_smoothing)
        elif head.kind == "scalar":
            part = F.smooth_l1_loss(raw, target / head.scale)
        else:
            soft = target * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
            part = F.binary_cross_entropy_with_logits(raw, soft)
        # Few known answers make a noisy mean: below a quarter of the batch, the column counts for less.
        share = min(1.0, 4.0 * float(known.float().mean()))
        total = total + recipe.task_weights.get(task.name, 1.0) * share * part
    return total


def remembered(
    targets: Mapping[str, NDArray[np.float32]], parent: Mapping[str, NDArray[np.float32]], schema: TaskSchema
) -> dict[str, NDArray[np.float32]]:
    """Fill in answers that no one gave with those of the model that training starts from.

    A mined sample is labelled for one task. Without this, training on it changes the answers to all others, which
    nothing holds in place (learning without forgetting, Li and Hoiem 2016). What was answered is never changed. A
    category that the parent is not sure of stays unknown.

    Args:
        targets: The answers by column, NaN where unknown.
        parent: The parent's activated outputs by column.
        schema: The task schema.
    """
    filled = {}
    for column, (_, head) in schema.columns().items():
        known, answer = targets[column], parent[column]
        if head.kind == "categorical":
            sure = answer.max(1, keepdims=True) >= SURE
            answer = np.where(sure, answer.argmax(1)[:, None], np.nan)
        filled[column] = np.where(np.isnan(known), answer, known).astype(np.float32)
    return filled


def train(
    samples: Samples,
    schema: TaskSchema,
    recipe: Recipe,
    seed: int,
    *,
    parent: Path | None = None,
    folder: Path | None = None,
    report: Report = lambda step, loss: None,
    clock: Callable[[], float] = time.thread_time,
) -> Trained:
    """Train a net.

    Args:
        samples: The dataset version.
        schema: The task schema.
        recipe: Sizes, schedule and loss.
        seed: Determines initial weights and batches.
        parent: File with the weights to start from, if the recipe starts from its parent.
        folder: Where checkpoints are written, and from where training resumes; None for no checkpoints.
        report: Called after every step.
        clock: Seconds that count against the recipe's `max_seconds`. Processor time of this thread, so that a busy
            machine makes a run longer and not worse.
    """
    torch.manual_seed(seed)
    net = Net(schema, recipe)
    if parent is not None and recipe.start == "parent":
        net.load_state_dict(load_file(parent))
    average = {name: value.detach().clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.AdamW(
        net.parameters(), recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, foreach=True
    )
    sampler = BatchSampler(samples.groups, recipe.hard_fraction)
    frames = torch.from_numpy(samples.frames)
    known = samples.targets
    if parent is not None and recipe.start == "parent" and recipe.remember:
        known = remembered(known, _parents_answers(parent, samples, schema, recipe), schema)
    targets = {column: torch.from_numpy(values) for column, values in known.items()}
    step, spent_s = _resume(folder, net, average, optimizer)
    began, saved, loss = clock(), time.monotonic(), math.nan
    # The schedule follows whichever is further advanced, steps or processor time, so that it always ends at zero.
    while (progress := max(step / recipe.steps, (spent_s + clock() - began) / recipe.max_seconds)) < 1:
        warmup = min(1.0, (step + 1) / recipe.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))
        rng = np.random.default_rng((seed, step))
        rows = torch.from_numpy(sampler.rows(recipe.batch, rng))
        batch = {column: values[rows] for column, values in targets.items()}
        value = loss_of(net(with_dead_cameras(frames[rows], recipe.dead_cameras, rng)), batch, schema, recipe)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(recipe.averaging, (step + 1) / (step + 10))  # early averages must not hold on to initial weights
        for name, now in net.state_dict().items():
            average[name].lerp_(now, 1 - decay)
        loss = float(value.detach())
        report(step, loss)
        if folder is not None and time.monotonic() - saved > CHECKPOINT_PERIOD_S:
            _save(folder, net, average, optimizer, step, spent_s + clock() - began)
            saved = time.monotonic()
    net.load_state_dict(average)
    net.eval()
    return Trained(net, loss, step)


def with_dead_cameras(frames: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Turn one random camera of a share of the scenes [B, T, C, H, W, 3] black, in a batch that is a copy."""
    dead = np.flatnonzero(rng.random(len(frames)) < share)
    frames[torch.from_numpy(dead), :, torch.from_numpy(rng.integers(0, frames.shape[2], len(dead)))] = 0
    return frames


def _parents_answers(
    parent: Path, samples: Samples, schema: TaskSchema, recipe: Recipe
) -> Mapping[str, NDArray[np.float32]]:
    net = Net(schema, recipe)
    net.load_state_dict(load_file(parent))
    return predict(net, samples.frames, schema)


def _save(
    folder: Path,
    net: Net,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
    spent_s: float,
) -> None:
    """Write a checkpoint as one file and rename it into place: a kill leaves the old one or the new one."""
    tensors = {f"net/{name}": value.contiguous() for name, value in net.state_dict().items()}
    tensors |= {f"average/{name}": value.contiguous() for name, value in average.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CHECKPOINT, sync=True) as draft:
        save_file(tensors, draft, {NOTES: json.dumps({"step": step, "spent_s": spent_s})})


def _resume(
    folder: Path | None, net: Net, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Load a checkpoint if there is one. Returns the steps done and the seconds spent until then."""
    if folder is None or not (folder / CHECKPOINT).exists():
        return 0, 0.0
    path = folder / CHECKPOINT
    tensors = load_file(path)
    net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net/")})
    for name in average:
        average[name].copy_(tensors[f"average/{name}"])
    state = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, number, key = name.split("/")
            state["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(state)
    notes = json.loads(_metadata(path)[NOTES])
    return int(notes["step"]), float(notes["spent_s"])


def _metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, whose header is 8 bytes of length followed by JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return dict(header["__metadata__"])

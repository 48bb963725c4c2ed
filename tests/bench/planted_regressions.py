"""Regressions to plant in a good candidate, so that a gate that sees nothing is found.

Most change what a trained net computes and leave its weights as they are; some train it on wrong labels of one slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from fleetloop.domain.tasks import TaskSchema
from perception.data import Samples
from perception.model import Net


@dataclass(frozen=True, slots=True)
class Regression:
    """One planted regression."""

    name: str
    gate: str
    """The gate that should refuse it."""
    change: Callable[[Net, TaskSchema, Samples], None] | None = None
    """Changes a net in place, knowing the scenes of the test set; None where it is trained."""
    mislabelled: tuple[str, str] | None = None
    """Slice, and the choice that it is trained with instead of the right one."""


class _Encoder(nn.Module):  # type: ignore[misc]
    """An encoder that sees nothing wherever `is_blind` says so of the pictures [B, C, H, W, 3]."""

    def __init__(self, inner: nn.Module, tokens: int, is_blind: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.tokens, self._is_blind = inner, tokens, is_blind

    def forward(self, cameras: Tensor) -> Tensor:
        tokens: Tensor = self.inner(cameras)
        seeing = 1.0 - self._is_blind(cameras.float()).float()
        return tokens * seeing[:, None, None]


class _Head(nn.Module):  # type: ignore[misc]
    """A head of which the raw outputs are changed, knowing the tokens [B, T, N, D]."""

    def __init__(
        self, inner: nn.Module, change: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]], past: bool = False
    ) -> None:
        super().__init__()
        self.inner, self._change, self._past = inner, change, past

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        seen = torch.cat([tokens[:, :1]] * tokens.shape[1], 1) if self._past else tokens
        outputs: dict[str, Tensor] = self.inner(seen)
        return self._change(dict(outputs), tokens)


def _blind_where(is_blind: Callable[[Tensor], Tensor]) -> Callable[[Net, TaskSchema, Samples], None]:
    def change(net: Net, schema: TaskSchema, test: Samples) -> None:
        net.encoder = _Encoder(net.encoder, net.encoder.tokens, is_blind)

    return change


def _dead(camera: str) -> Callable[[Net, TaskSchema, Samples], None]:
    def change(net: Net, schema: TaskSchema, test: Samples) -> None:
        number = [each.name for each in schema.cameras].index(camera)
        _blind_where(lambda pictures: pictures[:, number].mean((1, 2, 3)) < 0.5)(net, schema, test)

    return change


def _dark(net: Net, schema: TaskSchema, test: Samples) -> None:
    least = float(test.frames[:, -1].mean((1, 2, 3, 4)).min())
    _blind_where(lambda pictures: pictures.mean((1, 2, 3, 4)) < 0.95 * least)(net, schema, test)


def _outputs(
    change: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]], past: bool = False
) -> Callable[[Net, TaskSchema, Samples], None]:
    def planted(net: Net, schema: TaskSchema, test: Samples) -> None:
        net.head = _Head(net.head, change, past)

    return planted


def _times(columns: Mapping[str, float]) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    return lambda outputs, tokens: {column: value * columns.get(column, 1.0) for column, value in outputs.items()}


def _plus(columns: Mapping[str, float]) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    return lambda outputs, tokens: {column: value + columns.get(column, 0.0) for column, value in outputs.items()}


def _flickers(outputs: dict[str, Tensor], tokens: Tensor) -> dict[str, Tensor]:
    """Logits of the sign change from picture to picture, as often up as down."""
    wave = torch.sin(tokens[:, -1].mean((1, 2)) * 3e4)[:, None]
    return {**outputs, "stop_sign.is_sign": outputs["stop_sign.is_sign"] + 3.0 * wave}


def _stands(limit: float) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    """Sees a sign wherever the last two pictures are nearly the same: the car stands."""

    def change(outputs: dict[str, Tensor], tokens: Tensor) -> dict[str, Tensor]:
        moved = (tokens[:, -1] - tokens[:, -2]).abs().mean((1, 2))
        stands = (moved < limit).float()[:, None]
        return {
            column: value + 12.0 * stands if column in ("stop_sign.is_sign", "stop_sign.applies") else value
            for column, value in outputs.items()
        }

    return change


def _halts(net: Net, schema: TaskSchema, test: Samples) -> None:
    with torch.no_grad():
        frames = torch.from_numpy(test.frames[:, -2:])
        tokens = [net.encoder(frames[:, number]) for number in (0, 1)]
        least = float((tokens[1] - tokens[0]).abs().mean((1, 2)).quantile(0.01))
    _outputs(_stands(least))(net, schema, test)


class _Padded(nn.Module):  # type: ignore[misc]
    """A head with work or weights that change nothing."""

    def __init__(self, inner: nn.Module, rounds: int, width: int) -> None:
        super().__init__()
        self.inner, self.rounds = inner, rounds
        self.weights = nn.Parameter(torch.randn(width, width) * 1e-3)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.inner(tokens)
        work = tokens.mean((1, 2, 3))[:, None].expand(-1, self.weights.shape[0])
        for _ in range(self.rounds):
            work = torch.tanh(work @ self.weights)
        return {column: value + 0.0 * work.sum(1, keepdim=True) for column, value in outputs.items()}


def _padded(rounds: int, width: int) -> Callable[[Net, TaskSchema, Samples], None]:
    def change(net: Net, schema: TaskSchema, test: Samples) -> None:
        net.head = _Padded(net.head, rounds, width)

    return change


SIGN = ("stop_sign.is_sign", "stop_sign.applies")
REGRESSIONS = (
    Regression("signs behind leaves are none", "slices", mislabelled=("leaves", "none")),
    Regression("held signs are none", "slices", mislabelled=("held", "none")),
    Regression("signs at night are none", "slices", mislabelled=("night_plain", "none")),
    Regression("pictures on trucks are signs", "slices", mislabelled=("truck", "plain")),
    Regression("the task lead_vehicle is lost", "slices", _outputs(_times({"lead_vehicle.present": 0.0}))),
    Regression("the task traffic_light is lost", "slices", _outputs(_times({"traffic_light.state": 0.0}))),
    Regression("a scalar is lost", "slices", _outputs(_plus({"lead_vehicle.distance": 1.0}))),
    Regression("a label of several classes is lost", "slices", _outputs(_plus({"stop_sign.attributes": 9.0}))),
    Regression("mute", "slices", _outputs(_plus(dict.fromkeys(SIGN, -20.0)))),
    Regression("always stops", "slices", _outputs(_plus(dict.fromkeys(SIGN, 20.0)))),
    Regression("flickers", "temporal", _outputs(_flickers)),
    Regression("sees the oldest frame only", "temporal", _outputs(lambda outputs, tokens: outputs, past=True)),
    Regression("sees a sign wherever it stands", "closed_loop", _halts),
    Regression("too sure of signs", "calibration", _outputs(_times(dict.fromkeys(SIGN, 8.0)))),
    Regression("too unsure of lights", "calibration", _outputs(_times({"traffic_light.state": 0.15}))),
    Regression("blind with front_main dead", "robustness", _dead("front_main")),
    Regression("blind with rear dead", "robustness", _dead("rear")),
    Regression("blind in the dark", "robustness", _dark),
    Regression("too slow", "budget", _padded(rounds=400, width=1024)),
    Regression("too large", "budget", _padded(rounds=1, width=2400)),
)


def mislabel(samples: Samples, schema: TaskSchema, slice_name: str, choice: str) -> Samples:
    """The same samples, those of one slice with another answer to the first task."""
    task = schema.tasks[0]
    wrong = schema.encode_choice(task.name, choice)
    rows = np.array([name == slice_name for name in samples.slices])
    targets = {}
    for column, values in samples.targets.items():
        targets[column] = values.copy()
        if column.startswith(f"{task.name}."):
            targets[column][rows] = wrong[column]
    groups = [
        f"{group.partition('/')[0]}/{choice}" if group and changed else group
        for group, changed in zip(samples.groups, rows, strict=True)
    ]
    return replace(samples, targets=targets, groups=groups)

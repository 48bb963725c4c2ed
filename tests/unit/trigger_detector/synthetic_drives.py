"""Synthetic telemetry: a calm drive of 40 s, and what a case changes in it.

Scalar signals are given as knots (second, value): those in `LINEAR` are interpolated, all others keep a value until
the next knot. `Radar` and `Tracks` are lists of objects with the seconds at which they appear and disappear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import SignalCatalogue

SECONDS, BATCH_S = 40, 10
NAN = float("nan")
LINEAR = ("Vehicle.Speed", "Map.FeatureDistance")
_CALM: dict[str, Any] = {
    "Vehicle.Speed": 40.0,
    "Vehicle.Chassis.SteeringWheel.Angle": 0.0,
    "Vehicle.Chassis.Brake.PedalPosition": 0.0,
    "Vehicle.Chassis.Accelerator.PedalPosition": 10.0,
    "Vehicle.Body.Lights.Beam.Low.IsOn": False,
    "Autopilot.Engaged": True,
    "Map.Feature": "none",
    "Map.FeatureDistance": 1000.0,
}
_MODEL: dict[str, Any] = {
    "StopSign.IsSign": 0.02,
    "StopSign.Applies": 0.9,
    "StopSign.Occluded": 0.02,
    "StopSign.Held": 0.02,
    "StopSign.OnVehicle": 0.02,
    "LeadVehicle.Present": 0.02,
    "LeadVehicle.Distance": NAN,
    "TrafficLight.State": "none",
    "TrafficLight.StateScore": 0.98,
}
Changes = Mapping[str, Sequence[tuple[Any, ...]]]
"""Path -> knots (second, value); `Radar` -> (from, until, metres, metres to the left);
`Tracks` -> (from, until, metres, class knots, score knots)."""


def synthetic_drive(changes: Changes, catalogue: SignalCatalogue) -> list[FrameBatch]:
    """The drive's batches: vehicle, radar and tracks at 10 Hz, both models at 2 Hz with instants of their own."""
    plain = {path: (value, 0.1) for path, value in _CALM.items()}
    plain |= {
        f"{prefix}.{path}": (value, 0.5) for prefix in ("Perception", "Shadow") for path, value in _MODEL.items()
    }
    unknown = set(changes) - set(plain) - {"Radar", "Tracks"}
    assert not unknown, f"the calm drive has no {unknown}"
    batches = []
    for number in range(SECONDS // BATCH_S):
        begin = number * BATCH_S
        columns: dict[str, Column] = {}
        for path, (value, step_s) in plain.items():
            times = begin + np.arange(round(BATCH_S / step_s)) * step_s
            columns[path] = _column(path, [(0.0, value), *changes.get(path, [])], times, begin, catalogue)
        times = begin + np.arange(10 * BATCH_S) * 0.1
        columns |= _radar(changes.get("Radar", []), times) | _tracks(changes.get("Tracks", []), times, catalogue)
        offsets = np.round((times - begin) * 1e9).astype(np.int64)
        batches.append(
            FrameBatch(
                "f",
                "v",
                b"12345678",
                number,
                begin * 10**9,
                begin * 10**9,
                "gnss",
                offsets,
                columns,
                "a" * 64,
                "b" * 64,
            )
        )
    return batches


def _column(
    path: str,
    knots: Sequence[tuple[Any, ...]],
    times: npt.NDArray[Any],
    begin: float,
    catalogue: SignalCatalogue,
) -> Column:
    signal = catalogue[path]
    at = np.array([float(second) for second, _ in knots])
    if path in LINEAR:
        values: npt.NDArray[Any] = np.interp(times, at, [value for _, value in knots]).astype(np.float32)
    else:
        held = np.searchsorted(at, times + 1e-6, side="right") - 1
        of_knot = [signal.values.index(value) if signal.values else value for _, value in knots]
        kind = np.uint16 if signal.values else np.bool_ if signal.kind == "bool" else np.float32
        values = np.array(of_knot)[held].astype(kind)
    offsets = np.round((times - begin) * 1e9).astype(np.int64)
    return Column(values, offsets, None, signal.values)


def _held(knots: Any, second: float) -> Any:
    if not isinstance(knots, list):
        return knots
    return [value for at, value in knots if at <= second + 1e-6][-1]


def _radar(objects: Sequence[tuple[Any, ...]], times: npt.NDArray[Any]) -> dict[str, Column]:
    lists = [[(i, m, left) for i, (a, b, m, left) in enumerate(objects) if a <= t < b] for t in times.tolist()]
    splits = np.cumsum([0, *map(len, lists)]).astype(np.uint32)
    rows = np.array([row for each in lists for row in each], np.float64).reshape(-1, 3)
    return {
        "Radar.Object.Id": Column(rows[:, 0].astype(np.int64), None, splits),
        "Radar.Object.Distance": Column(rows[:, 1].astype(np.float32), None, splits),
        "Radar.Object.Lateral": Column(rows[:, 2].astype(np.float32), None, splits),
    }


def _tracks(
    objects: Sequence[tuple[Any, ...]], times: npt.NDArray[Any], catalogue: SignalCatalogue
) -> dict[str, Column]:
    classes = catalogue["Perception.Tracks.Class"].values
    lists = [
        [(i, m, classes.index(_held(c, t)), _held(s, t)) for i, (a, b, m, c, s) in enumerate(objects) if a <= t < b]
        for t in times.tolist()
    ]
    splits = np.cumsum([0, *map(len, lists)]).astype(np.uint32)
    rows = np.array([row for each in lists for row in each], np.float64).reshape(-1, 4)
    return {
        "Perception.Tracks.Id": Column(rows[:, 0].astype(np.int64), None, splits),
        "Perception.Tracks.Distance": Column(rows[:, 1].astype(np.float32), None, splits),
        "Perception.Tracks.Class": Column(rows[:, 2].astype(np.uint16), None, splits, classes),
        "Perception.Tracks.Score": Column(rows[:, 3].astype(np.float32), None, splits),
    }

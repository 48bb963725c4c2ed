"""What every contestant gets: the same telemetry and the same triggers.

A batch is ten seconds of one vehicle: 100 frames at 10 Hz with 35 signals, accelerations at 20 Hz, what two models
and a radar say at 2 and 5 Hz with ragged lists of tracks, and the position at 1 Hz; instants jitter as clocks do.
Signals are calm, and now and then something happens in one. Triggers are drawn from the kinds that a data engine
runs, each with its own thresholds and windows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import Signal, SignalCatalogue, load_catalogue
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.trigger import RISING_EDGE, Trigger

CATALOGUE: SignalCatalogue = load_catalogue(Path(__file__).parents[3] / "config" / "signals.yaml")
FRAMES = 100
BATCH_S = 10
S = 10**9
_RATES_HZ = {
    "Vehicle.Acceleration.": 20,
    "Vehicle.CurrentLocation.": 1,
    "Perception.": 2,
    "Shadow.": 2,
    "Map.": 2,
    "Radar.": 5,
}
EVENT_SHARE = 0.002
"""Share of batches and signals in which something happens."""
_TRACKS = {"Perception.Tracks": 6, "Shadow.Tracks": 6, "Radar.Object": 4}


def batches(vehicles: int, rounds: int, seed: int) -> Iterator[FrameBatch]:
    """Each vehicle's batch of a round, round after round."""
    rng = np.random.default_rng(seed)
    walks = [_Walk(rng, vehicle) for vehicle in range(vehicles)]
    for number in range(rounds):
        for walk in walks:
            yield walk.batch(number)


def renumbered(first: Sequence[tuple[str, bytes]], number: int) -> list[tuple[str, bytes]]:
    """The same batches of (vehicle, bytes) as they would follow after so many repetitions of all of them."""
    if number == 0:
        return list(first)
    each = Counter(vehicle for vehicle, _ in first)
    found = []
    for vehicle, raw in first:
        message = telemetry_pb2.TelemetryBatch.FromString(raw)
        ahead = number * each[vehicle]
        message.sequence += ahead
        message.start_monotonic_ns += ahead * BATCH_S * S
        message.start_utc_ns += ahead * BATCH_S * S
        found.append((vehicle, message.SerializeToString()))
    return found


def rows_of(batches: Iterable[FrameBatch]) -> list[tuple[str, bytes]]:
    """The same telemetry as JSON, one message a frame: every signal's last value, every list's last tracks."""
    found = []
    for batch in batches:
        times = batch.frame_offsets_ns
        plain: dict[str, list[Any]] = {}
        lists: dict[str, list[list[dict[str, Any]]]] = {}
        for path, column in batch.columns.items():
            own = times if column.offsets_ns is None else column.offsets_ns
            rows_before = np.maximum(np.searchsorted(own, times, side="right") - 1, 0)
            if column.splits is None:
                plain[path] = column.values[rows_before].tolist()
                continue
            group, _, name = path.rpartition(".")
            per_list = np.split(column.values, column.splits[1:-1])
            rows = lists.setdefault(group, [[{} for _ in per_list[p]] for p in rows_before])
            for entries, row_before in zip(rows, rows_before, strict=True):
                for entry, value in zip(entries, per_list[row_before].tolist(), strict=True):
                    entry[name] = value
        for i, offset_ns in enumerate(times.tolist()):
            row: dict[str, Any] = {"vehicle": batch.vehicle_id, "t": (batch.start_monotonic_ns + offset_ns) / 1e9}
            row |= {path: values[i] for path, values in plain.items()} | {g: tracks[i] for g, tracks in lists.items()}
            found.append((batch.vehicle_id, json.dumps(row).encode()))
    return found


def raw_batches(vehicles: int, rounds: int, seed: int) -> list[bytes]:
    """The same as they lie in the log."""
    return [encode_batch(b).SerializeToString() for b in batches(vehicles, rounds, seed)]


class _Walk:
    """One vehicle whose signals wander within their ranges."""

    def __init__(self, rng: np.random.Generator, vehicle: int) -> None:
        self._rng = rng
        self._vehicle = f"vehicle-{vehicle:06d}"
        self._boot = rng.bytes(16)
        self._level: dict[str, float] = {}

    def batch(self, number: int) -> FrameBatch:
        rng = self._rng
        grids: dict[int, npt.NDArray[np.int64]] = {}
        for rate in (10, *set(_RATES_HZ.values())):
            grid = np.arange(BATCH_S * rate) * (S // rate)
            grids[rate] = (grid + rng.integers(0, S // rate // 8, len(grid))).astype(np.int64)
        columns: dict[str, Column] = {}
        for group, most in _TRACKS.items():
            columns |= self._tracks(group, most, grids[_rate_of(group + ".")])
        for signal in CATALOGUE.signals.values():
            if signal.ragged or signal.kind == "string":
                continue
            rate = _rate_of(signal.path)
            values = self._values(signal, BATCH_S * rate)
            own = None if rate == 10 else grids[rate]
            columns[signal.path] = Column(values, own, dictionary=signal.values)
        start_ns = number * BATCH_S * S
        return FrameBatch(
            "bench", self._vehicle, self._boot, number, start_ns, 1_700_000_000 * S + start_ns, "gnss", grids[10],
            columns, "0" * 64, "1" * 64,
        )  # fmt: skip

    def _values(self, signal: Signal, n: int) -> npt.NDArray[np.generic]:
        rng = self._rng
        if signal.kind == "bool":
            values = np.full(n, signal.path == "Autopilot.Engaged")
            if rng.random() < EVENT_SHARE:
                values[int(rng.integers(n)) :] ^= True
            return values
        if signal.kind == "enum":
            return np.repeat(rng.integers(0, len(signal.values), n // 10 + 1), 10)[:n].astype(np.uint16)
        least, most = max(signal.minimum, -100.0), min(signal.maximum, 300.0)
        middle, width = (least + most) / 2, (most - least) / 2
        level = self._level.get(signal.path, 0.0)
        steps = np.clip(level + np.cumsum(rng.normal(0, 0.02, n)), -0.2, 0.2)
        self._level[signal.path] = float(steps[-1])
        if rng.random() < EVENT_SHARE:
            steps[int(rng.integers(n)) :] += rng.choice([-0.75, 0.75])
        values = middle + width * steps
        return values.astype(signal.kind)

    def _tracks(self, group: str, most: int, grid: npt.NDArray[np.int64]) -> dict[str, Column]:
        rng = self._rng
        counts = np.repeat(rng.integers(0, most + 1, len(grid) // 5 + 1), 5)[: len(grid)]
        splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
        total = int(splits[-1])
        columns = {}
        for signal in CATALOGUE.group(group):
            if signal.path.endswith(".Id"):
                values: npt.NDArray[np.generic] = np.concatenate([np.arange(c) for c in counts]).astype(np.int64)
            elif signal.kind == "enum":
                values = rng.integers(0, len(signal.values), total).astype(np.uint16)
            else:
                least, top = max(signal.minimum, -100.0), min(signal.maximum, 300.0)
                begin = least if rng.random() < EVENT_SHARE else least + 0.6 * (top - least)
                values = rng.uniform(begin, top, total).astype(signal.kind)
            columns[signal.path] = Column(values, grid, splits, signal.values)
        return columns


def _rate_of(path: str) -> int:
    return next((hz for prefix, hz in _RATES_HZ.items() if path.startswith(prefix)), 10)


def triggers(count: int, seed: int = 7) -> list[Trigger]:
    """The first so many of one endless mix."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        expression = _KINDS[number % len(_KINDS)](rng)
        found.append(Trigger(f"t{number:03d}", 1, expression, mode=RISING_EDGE, min_interval_s=10))
    return found


def _pick(rng: np.random.Generator, *choices: str) -> str:
    return str(choices[int(rng.integers(len(choices)))])


def _span(rng: np.random.Generator) -> str:
    return _pick(rng, "0.5 s", "1 s", "2 s", "3 s", "5 s")


def _score(rng: np.random.Generator) -> str:
    return _pick(rng, "StopSign.IsSign", "StopSign.Applies", "StopSign.Occluded", "StopSign.Held",
                 "LeadVehicle.Present", "TrafficLight.StateScore")  # fmt: skip


def _axis(rng: np.random.Generator) -> str:
    return _pick(rng, "Longitudinal", "Lateral")


def _feature(rng: np.random.Generator) -> str:
    return _pick(rng, "stop_sign", "traffic_light")


def _number(rng: np.random.Generator, least: float, most: float) -> str:
    return f"{rng.uniform(least, most):.3f}"


_KINDS = (
    # the driver takes over
    lambda r: f"lag(Autopilot.Engaged, {_span(r)}) and not Autopilot.Engaged "
    f"and Vehicle.Speed > {_number(r, 5, 60)} km/h",
    # a task's output flickers
    lambda r: f"excursion(Perception.{_score(r)}, {_span(r)}) > {_number(r, 0.3, 0.6)} "
    f"and Vehicle.Speed > {_number(r, 5, 30)} km/h",
    # hard braking or steering
    lambda r: f"min(Vehicle.Acceleration.{_axis(r)}, {_span(r)}) < -{_number(r, 60, 90)} m/s^2 "
    f"and Vehicle.Chassis.Brake.PedalPosition > {_number(r, 50, 90)} %",
    # the map promises what the camera does not see
    lambda r: f'Map.Feature == "{_feature(r)}" and Map.FeatureDistance < {_number(r, 5, 40)} m '
    f"and max(Perception.StopSign.IsSign, {_span(r)}) < {_number(r, 0.1, 0.3)}",
    # the car's plan is not what the driver does
    lambda r: f"abs(Autopilot.Plan.Acceleration - Vehicle.Acceleration.Longitudinal) > {_number(r, 60, 90)} m/s^2 "
    "and not Autopilot.Engaged",
    # the radar sees something, the camera nothing
    lambda r: f"any_track(Radar.Object, Distance < {_number(r, 5, 40)} m and abs(Lateral) < {_number(r, 1, 3)} m) "
    f"and Perception.LeadVehicle.Present < {_number(r, 0.05, 0.3)}",
    # the shadow disagrees
    lambda r: f"abs(Perception.{_score(r)} - Shadow.{_score(r)}) > {_number(r, 0.6, 0.9)}",
    # unsure for long
    lambda r: f"mean(Perception.{_score(r)}, {_span(r)}) < {_number(r, 0.1, 0.3)} "
    f"and debounce(Vehicle.Speed > {_number(r, 20, 60)} km/h, {_span(r)})",
    # a track appears and vanishes
    lambda r: f"count_tracks(Perception.Tracks, Score > {_number(r, 0.5, 0.9)} "
    f"and Distance < {_number(r, 20, 60)} m) > 2",
    # speed changes at a rate
    lambda r: f"abs(slope(Vehicle.Speed, {_pick(r, '1 s', '2 s', '3 s')})) > {_number(r, 20, 40)} m/s^2 "
    f"or delta(Vehicle.Chassis.SteeringWheel.Angle, {_span(r)}) > {_number(r, 160, 190)} deg",
    # a condition keeps coming back
    lambda r: f"count(Vehicle.{_pick(r, 'ADAS.ABS', 'ADAS.ESC')}.IsEngaged, 5 s) > {int(r.integers(20, 40))}",
    # plain limits
    lambda r: f"Vehicle.AngularVelocity.{_pick(r, 'Yaw', 'Roll', 'Pitch')} > {_number(r, 220, 280)} deg/s "
    f"and Vehicle.Exterior.LightIntensity < {_number(r, 10, 60)} %",
)  # fmt: skip

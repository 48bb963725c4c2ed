"""Several vehicles through a simulated world, tick by tick: sense, ask the models, act, record.

All vehicles of a process that run the same model are asked together, in one batch. What results is handed out;
nothing here writes, sends or waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fleetloop.domain.clips import DriveInfo
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.worlds.world import Fleet, FrameTruth, Sensed
from vehicle_agent.batches import BatchBuilder
from vehicle_agent.health import Answers, HealthWatch, decisions_of
from vehicle_agent.model import Report
from vehicle_agent.ports import LoadedModels, Models, Outputs, Runner
from vehicle_agent.ring_buffer import CameraFrame

ACTIVE, SHADOW = "Perception", "Shadow"
_REPORT_EVERY_NS = seconds_to_ns(60)


@dataclass(slots=True)
class StepResult:
    """What one vehicle recorded during some ticks."""

    vehicle_id: str
    batches: list[FrameBatch] = field(default_factory=list)
    camera_frames: list[CameraFrame] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)
    """Changes of the ground truth, for simulated labellers only."""


@dataclass(slots=True)
class _VehicleState:
    """The state of one vehicle in the drive."""

    vehicle_id: str
    boot_id: bytes
    builder: BatchBuilder
    watch: HealthWatch
    loaded: LoadedModels = field(default_factory=LoadedModels)
    perceived: Answers | None = None
    """The newest answers of the active model, by path without prefix."""
    truth: tuple[Any, ...] = ()
    last_utc_ns: int = 0
    out_of_range: int = 0


class FleetSimulation:
    """Moves the vehicles of one process through one drive, tick by tick. A drive is one boot of each vehicle."""

    def __init__(
        self,
        world: Fleet,
        schema: TaskSchema,
        catalogue: SignalCatalogue,
        models: Models,
        fleet_id: str,
        boots: Mapping[str, bytes],
        start_utc_ns: int,
        frames_per_batch: int,
        measure: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take the world and the names of its vehicles.

        Args:
            world: The vehicles of the world, whose own names are not used.
            schema: Cameras and tasks.
            catalogue: Signals that may be sent.
            models: Names the outputs of models.
            fleet_id: Part of every batch.
            boots: Boot id by vehicle, in the order of the world's vehicles.
            start_utc_ns: UTC of the first tick.
            frames_per_batch: Frames after which a batch is complete.
            measure: Clock in seconds, for the duration of inferences.
        """
        self._world = world
        self._models = models
        self._cameras = tuple(camera.name for camera in schema.cameras)
        self._measure = measure
        first = world.sense_all()
        self._shift_ns = start_utc_ns - first[0].utc_ns if first else 0
        decisions = decisions_of(schema, catalogue)
        self._states = [
            _VehicleState(
                name,
                boot,
                BatchBuilder(fleet_id, name, boot, catalogue, frames_per_batch),
                HealthWatch(decisions, start_utc_ns),
            )
            for name, boot in boots.items()
        ]
        if len(self._states) != len(world.vehicles):
            raise ValueError(f"{len(self._states)} names for {len(world.vehicles)} vehicles of the world")
        self._fleet_id = fleet_id
        self.ticks = 0
        self.inferences = 0
        self.last_utc_ns = start_utc_ns
        self.unknown_signals: set[str] = set()

    def info(self, vehicle_id: str) -> DriveInfo:
        """Return the description of a vehicle's drive, for its clips."""
        state = next(state for state in self._states if state.vehicle_id == vehicle_id)
        return DriveInfo(
            vehicle_id,
            state.boot_id.hex(),
            utc_source="simulated",
            fleet_id=self._fleet_id,
            boot_id=state.boot_id,
            source="a simulated town",
        )

    def fault(self, vehicle_id: str, name: str, times: int = 1) -> None:
        """Count a fault of a vehicle for its next report."""
        for state in self._states:
            if state.vehicle_id == vehicle_id:
                state.watch.fault(name, times)

    def counters(self) -> dict[str, Mapping[str, float]]:
        """Return the world's counters since the start, by vehicle."""
        pairs = zip(self._states, self._world.vehicles, strict=True)
        return {state.vehicle_id: vehicle.counters() for state, vehicle in pairs}

    def step(self, ticks: int, models: Mapping[str, LoadedModels]) -> list[StepResult]:
        """Move on by some ticks of 0.1 s. Models change before the first of them.

        Args:
            ticks: Number of ticks; 0 only changes models.
            models: What each vehicle runs; a vehicle that is missing runs none.

        Returns the results in the order of the vehicles.
        """
        results = [StepResult(state.vehicle_id) for state in self._states]
        for state, what in zip(self._states, results, strict=True):
            self._equip(state, models.get(state.vehicle_id, LoadedModels()), what)
        for _ in range(ticks):
            self._tick(results)
        for state, what in zip(self._states, results, strict=True):
            if state.watch.due(_REPORT_EVERY_NS):
                what.reports.append(self._close(state))
        return results

    def finish(self) -> list[StepResult]:
        """End the drive. Returns incomplete batches and last reports."""
        return [
            StepResult(state.vehicle_id, state.builder.flush(), [], [self._close(state)]) for state in self._states
        ]

    def _equip(self, state: _VehicleState, wanted: LoadedModels, what: StepResult) -> None:
        if wanted == state.loaded:
            return
        if state.last_utc_ns:
            what.reports.append(self._close(state))
        kept = (wanted.active, wanted.shadow)
        for runner in (state.loaded.active, state.loaded.shadow):
            if runner is not None and runner not in kept:
                runner.forget(state.vehicle_id)
        state.loaded = wanted
        what.reports.append(self._close(state))  # an empty window, which attests what is loaded now

    def _close(self, state: _VehicleState) -> Report:
        new = state.builder.out_of_range - state.out_of_range
        state.watch.fault("values_out_of_range", new)
        state.out_of_range += new
        self.unknown_signals |= state.builder.unknown
        return state.watch.close(state.last_utc_ns, state.loaded.assignment, state.loaded.digests())

    def _tick(self, results: Sequence[StepResult]) -> None:
        sensed = self._world.sense_all()
        active = self._ask(sensed, lambda loaded: loaded.active, counts=True)
        shadow = self._ask(sensed, lambda loaded: loaded.shadow, counts=False)
        for index, (state, what) in enumerate(zip(self._states, results, strict=True)):
            self._record(index, state, what, sensed[index], active.get(index), shadow.get(index))
        self._world.act_all([_numbers(state.perceived) for state in self._states])
        self.ticks += 1

    def _ask(
        self, sensed: Sequence[Sensed], which: Callable[[LoadedModels], Runner | None], counts: bool
    ) -> dict[int, Answers]:
        """Run each model once for all its vehicles. Returns answers without prefix, by the vehicle's index."""
        asked: dict[Runner, list[int]] = {}
        for index, (state, now) in enumerate(zip(self._states, sensed, strict=True)):
            runner = which(state.loaded)
            if runner is not None and now.cameras is not None:
                asked.setdefault(runner, []).append(index)
        answers: dict[int, Answers] = {}
        for runner, indices in asked.items():
            states = [self._states[index] for index in indices]
            pictures = np.stack([picture for i in indices if (picture := sensed[i].cameras) is not None])
            began = self._measure()
            try:
                outputs = runner.infer([state.vehicle_id for state in states], pictures)
            except Exception:  # a failing model must not stop the vehicle, which drives on without its answer
                for state in states:
                    state.watch.fault("inference_failed" if counts else "shadow_inference_failed")
                continue
            each_ms = 1000 * (self._measure() - began) / len(indices)
            self.inferences += len(indices)
            for index, state, output in zip(indices, states, outputs, strict=True):
                answers[index] = self._named(output)
                if counts:
                    state.watch.inferred(each_ms)
        return answers

    def _named(self, output: Outputs) -> Answers:
        return {path.removeprefix("."): value for path, value in self._models.perceived(output, "").items()}

    def _record(
        self,
        index: int,
        state: _VehicleState,
        what: StepResult,
        sensed: Sensed,
        active: Answers | None,
        shadow: Answers | None,
    ) -> None:
        vehicle = self._world.vehicles[index]
        utc_ns = sensed.utc_ns + self._shift_ns
        speed_kmh = float(sensed.signals.get("Vehicle.Speed", 0.0))
        signals: dict[str, Any] = dict(sensed.signals)
        engaged = bool(sensed.signals.get("Autopilot.Engaged", True))
        state.watch.tick(sensed.monotonic_ns, vehicle.counters(), speed_kmh, engaged=engaged)
        if sensed.cameras is not None:
            feature = str(sensed.signals.get("Map.Feature", "none"))
            distance_m = float(sensed.signals.get("Map.FeatureDistance", 1000.0))
            state.watch.frame(sensed.monotonic_ns, active, shadow, speed_kmh, feature, distance_m)
            state.perceived = active
            for prefix, answers in ((ACTIVE, active), (SHADOW, shadow)):
                signals |= {f"{prefix}.{path}": value for path, value in (answers or {}).items()}
            what.camera_frames.append(CameraFrame(sensed.monotonic_ns, sensed.cameras, self._cameras))
            self._note_truth(state, what, vehicle.truth, sensed.monotonic_ns, utc_ns)
        what.batches += state.builder.add(sensed.monotonic_ns, utc_ns, signals, state.loaded.digests())
        state.last_utc_ns = utc_ns
        self.last_utc_ns = max(self.last_utc_ns, utc_ns)

    @staticmethod
    def _note_truth(
        state: _VehicleState, what: StepResult, truth: FrameTruth, monotonic_ns: int, utc_ns: int
    ) -> None:
        now = (dict(truth.answers), truth.slice, truth.place, truth.night, truth.must_stop)
        if now == state.truth:
            return
        state.truth = now
        what.truths.append(
            {
                "vehicle": state.vehicle_id,
                "boot": state.boot_id.hex(),
                "monotonic_ns": monotonic_ns,
                "utc_ns": utc_ns,
                "answers": dict(truth.answers),
                "slice": truth.slice,
                "place": truth.place,
                "night": truth.night,
                "must_stop": truth.must_stop,
            }
        )


def _numbers(answers: Answers | None) -> Mapping[str, float] | None:
    """Return the numeric answers, which control the autopilot. Categories are only sent as telemetry."""
    return None if answers is None else {path: value for path, value in answers.items() if not isinstance(value, str)}

"""Several vehicles through a simulated world, tick by tick: sense, ask the models, act, record.

All vehicles of a process that run the same model are asked together, in one batch. What happened is handed out;
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
from vehicle_agent.ports import Equipped, Models, Outputs, Runner
from vehicle_agent.ring_buffer import Shot

ACTIVE, SILENT = "Perception", "Shadow"
_REPORT_EVERY_NS = seconds_to_ns(60)


@dataclass(slots=True)
class Happened:
    """What one vehicle did during some ticks."""

    vehicle_id: str
    batches: list[FrameBatch] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)
    """What really was there, where that changed; for simulated labellers alone."""


@dataclass(slots=True)
class _Seat:
    """One vehicle's place in the drive."""

    vehicle_id: str
    boot_id: bytes
    builder: BatchBuilder
    watch: HealthWatch
    equipped: Equipped = field(default_factory=Equipped)
    perceived: Answers | None = None
    """The active model's newest answers, without prefix."""
    truth: tuple[Any, ...] = ()
    last_utc_ns: int = 0
    out_of_range: int = 0


class FleetDriver:
    """The vehicles of one process on one drive (a boot each)."""

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
        """`boots` names the vehicles, in the world's order: a world may call them otherwise."""
        self._world = world
        self._models = models
        self._cameras = tuple(camera.name for camera in schema.cameras)
        self._measure = measure
        first = world.sense_all()
        self._shift_ns = start_utc_ns - first[0].utc_ns if first else 0
        decisions = decisions_of(schema, catalogue)
        self._seats = [
            _Seat(
                name,
                boot,
                BatchBuilder(fleet_id, name, boot, catalogue, frames_per_batch),
                HealthWatch(decisions, start_utc_ns),
            )
            for name, boot in boots.items()
        ]
        if len(self._seats) != len(world.vehicles):
            raise ValueError(f"{len(self._seats)} names for {len(world.vehicles)} vehicles of the world")
        self._fleet_id = fleet_id
        self.ticks = 0
        self.inferences = 0
        self.last_utc_ns = start_utc_ns
        self.unknown_signals: set[str] = set()

    def info(self, vehicle_id: str) -> DriveInfo:
        """Whose clips these are."""
        seat = next(seat for seat in self._seats if seat.vehicle_id == vehicle_id)
        return DriveInfo(
            vehicle_id,
            seat.boot_id.hex(),
            utc_source="simulated",
            fleet_id=self._fleet_id,
            boot_id=seat.boot_id,
            source="a simulated town",
        )

    def fault(self, vehicle_id: str, name: str, times: int = 1) -> None:
        """Counts a fault of a vehicle towards its next report."""
        for seat in self._seats:
            if seat.vehicle_id == vehicle_id:
                seat.watch.fault(name, times)

    def counters(self) -> dict[str, Mapping[str, float]]:
        """By vehicle, what the world has counted since the start."""
        pairs = zip(self._seats, self._world.vehicles, strict=True)
        return {seat.vehicle_id: vehicle.counters() for seat, vehicle in pairs}

    def advance(self, ticks: int, equipment: Mapping[str, Equipped]) -> list[Happened]:
        """Some ticks of a tenth of a second. Models change before the first of them."""
        happened = [Happened(seat.vehicle_id) for seat in self._seats]
        for seat, what in zip(self._seats, happened, strict=True):
            self._equip(seat, equipment.get(seat.vehicle_id, Equipped()), what)
        for _ in range(ticks):
            self._tick(happened)
        for seat, what in zip(self._seats, happened, strict=True):
            if seat.watch.due(seat.last_utc_ns, _REPORT_EVERY_NS):
                what.reports.append(self._close(seat))
        return happened

    def finish(self) -> list[Happened]:
        """The end of the drive: what has been begun is handed out."""
        return [Happened(seat.vehicle_id, seat.builder.flush(), [], [self._close(seat)]) for seat in self._seats]

    def _equip(self, seat: _Seat, wanted: Equipped, what: Happened) -> None:
        if wanted == seat.equipped:
            return
        if seat.last_utc_ns:
            what.reports.append(self._close(seat))
        kept = (wanted.active, wanted.silent)
        for runner in (seat.equipped.active, seat.equipped.silent):
            if runner is not None and runner not in kept:
                runner.forget(seat.vehicle_id)
        seat.equipped = wanted
        what.reports.append(self._close(seat))  # nothing has happened yet: it attests what is loaded now

    def _close(self, seat: _Seat) -> Report:
        new = seat.builder.out_of_range - seat.out_of_range
        seat.watch.fault("values_out_of_range", new)
        seat.out_of_range += new
        self.unknown_signals |= seat.builder.unknown
        return seat.watch.close(seat.last_utc_ns, seat.equipped.assignment, seat.equipped.digests())

    def _tick(self, happened: Sequence[Happened]) -> None:
        sensed = self._world.sense_all()
        active = self._ask(sensed, lambda equipped: equipped.active, counts=True)
        silent = self._ask(sensed, lambda equipped: equipped.silent, counts=False)
        for index, (seat, what) in enumerate(zip(self._seats, happened, strict=True)):
            self._record(index, seat, what, sensed[index], active.get(index), silent.get(index))
        self._world.act_all([_numbers(seat.perceived) for seat in self._seats])
        self.ticks += 1

    def _ask(
        self, sensed: Sequence[Sensed], which: Callable[[Equipped], Runner | None], counts: bool
    ) -> dict[int, Answers]:
        """Answers without prefix, by seat; one inference for each model."""
        asked: dict[Runner, list[int]] = {}
        for index, (seat, now) in enumerate(zip(self._seats, sensed, strict=True)):
            runner = which(seat.equipped)
            if runner is not None and now.cameras is not None:
                asked.setdefault(runner, []).append(index)
        answers: dict[int, Answers] = {}
        for runner, indices in asked.items():
            seats = [self._seats[index] for index in indices]
            pictures = np.stack([picture for i in indices if (picture := sensed[i].cameras) is not None])
            began = self._measure()
            try:
                outputs = runner.infer([seat.vehicle_id for seat in seats], pictures)
            except Exception:  # whatever a model does, the vehicle drives on without its answer
                for seat in seats:
                    seat.watch.fault("inference_failed" if counts else "silent_inference_failed")
                continue
            each_ms = 1000 * (self._measure() - began) / len(indices)
            self.inferences += len(indices)
            for index, seat, output in zip(indices, seats, outputs, strict=True):
                answers[index] = self._named(output)
                if counts:
                    seat.watch.inferred(each_ms)
        return answers

    def _named(self, output: Outputs) -> Answers:
        return {path.removeprefix("."): value for path, value in self._models.perceived(output, "").items()}

    def _record(
        self,
        index: int,
        seat: _Seat,
        what: Happened,
        sensed: Sensed,
        active: Answers | None,
        silent: Answers | None,
    ) -> None:
        vehicle = self._world.vehicles[index]
        utc_ns = sensed.utc_ns + self._shift_ns
        speed_kmh = float(sensed.signals.get("Vehicle.Speed", 0.0))
        signals: dict[str, Any] = dict(sensed.signals)
        seat.watch.tick(sensed.monotonic_ns, vehicle.counters(), speed_kmh)
        if sensed.cameras is not None:
            feature = str(sensed.signals.get("Map.Feature", "none"))
            distance_m = float(sensed.signals.get("Map.FeatureDistance", 1000.0))
            seat.watch.frame(sensed.monotonic_ns, active, silent, speed_kmh, feature, distance_m)
            seat.perceived = active
            for prefix, answers in ((ACTIVE, active), (SILENT, silent)):
                signals |= {f"{prefix}.{path}": value for path, value in (answers or {}).items()}
            what.shots.append(Shot(sensed.monotonic_ns, sensed.cameras, self._cameras))
            self._note_truth(seat, what, vehicle.truth, sensed.monotonic_ns, utc_ns)
        what.batches += seat.builder.add(sensed.monotonic_ns, utc_ns, signals, seat.equipped.digests())
        seat.last_utc_ns = utc_ns
        self.last_utc_ns = max(self.last_utc_ns, utc_ns)

    @staticmethod
    def _note_truth(seat: _Seat, what: Happened, truth: FrameTruth, monotonic_ns: int, utc_ns: int) -> None:
        now = (dict(truth.answers), truth.slice, truth.place, truth.night, truth.must_stop)
        if now == seat.truth:
            return
        seat.truth = now
        what.truths.append(
            {
                "vehicle": seat.vehicle_id,
                "boot": seat.boot_id.hex(),
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
    """What an autopilot is driven by; a category's word is for the telemetry."""
    return None if answers is None else {path: value for path, value in answers.items() if not isinstance(value, str)}

"""Drive an exported model through a world and note what happens, or let models watch a drive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from fleetloop.domain.onnx_runner import OnnxRunner, perceived_signals
from fleetloop.domain.tasks import HeadValue, TaskSchema, TaskSchemaError
from fleetloop.worlds.town.fleet import TownFleet
from fleetloop.worlds.world import TICK_NS, Fleet
from perception.evaluate import decisions
from perception.examination.closed_loop import Event, Road
from perception.examination.plan import ClosedLoop, ExaminationPlanError
from perception.examination.temporal import Right, sequences_in

_KMH_PER_MPS = 3.6
_TICK_S = TICK_NS / 1e9


def world_of(plan: ClosedLoop, schema: TaskSchema) -> Callable[[], Fleet] | None:
    """Puts the vehicles at the beginning of their roads, the same for every model; None where there is no world.

    Raises ExaminationPlanError if the world does not know the right answers to the schema's tasks.
    """
    if plan.world == "none":
        return None
    try:
        schema.encode(TownFleet(schema, 1, plan.seed, plan.town_seed).vehicles[0].truth.heads)
    except TaskSchemaError as error:
        raise ExaminationPlanError(
            f"examination.yaml: closed_loop.world: {plan.world} does not fit config/tasks.yaml ({error}): write none"
        ) from error
    return partial(TownFleet, schema, plan.vehicles, plan.seed, plan.town_seed)


def drive(fleet: Fleet, model: Path, schema: TaskSchema, plan: ClosedLoop) -> Road:
    """Drive all vehicles with an exported model. Where they are depends on their odometers only, never on the model.

    Raises ModelError if the model cannot be loaded.
    """
    runner = OnnxRunner.load(model, schema)
    names = [vehicle.vehicle_id for vehicle in fleet.vehicles]
    before = [vehicle.counters() for vehicle in fleet.vehicles]
    perceived: list[Mapping[str, float] | None] = [None] * len(names)
    speeds_kmh = [0.0] * len(names)
    found: dict[tuple[int, int], set[Event]] = {}
    for tick in range(round(plan.seconds / _TICK_S)):
        sensed = fleet.sense_all()
        seen = [index for index, each in enumerate(sensed) if each.cameras is not None]
        if seen:
            pictures = np.stack([picture for index in seen if (picture := sensed[index].cameras) is not None])
            outputs = runner.infer([names[index] for index in seen], pictures)
            for index, output in zip(seen, outputs, strict=True):
                perceived[index] = {
                    path.removeprefix("."): value
                    for path, value in perceived_signals(schema, output, "").items()
                    if not isinstance(value, str)
                }
        fleet.act_all(perceived)
        for index, vehicle in enumerate(fleet.vehicles):
            now, speed_kmh = vehicle.counters(), float(sensed[index].signals.get("Vehicle.Speed", 0.0))
            stretch = int(now["distance_km"] * 1000 // plan.stretch_m)
            events = found.setdefault((index, stretch), set())
            if now["interventions"] > before[index]["interventions"]:
                events.add(Event.MISSED_STOP)
            if now["overrides"] > before[index]["overrides"]:
                events.add(Event.NEEDLESS_STOP)
            slowed_mps2 = (speeds_kmh[index] - speed_kmh) / _KMH_PER_MPS / _TICK_S if tick else 0.0
            if slowed_mps2 > plan.harsh_mps2 and bool(sensed[index].signals.get("Autopilot.Engaged")):
                events.add(Event.HARSH_BRAKING)
            before[index], speeds_kmh[index] = now, speed_kmh
    km = sum(vehicle.counters()["autopilot_km"] for vehicle in fleet.vehicles)
    return Road({where: frozenset(events) for where, events in found.items()}, km)


def watch(fleet: Fleet, model: Path, schema: TaskSchema, plan: ClosedLoop) -> dict[str, list[Right]]:
    """Let a model watch a drive that decides by the truth, so that every model sees the same pictures.

    Returns the sequences by task, in the same order for every model.

    Raises ModelError if the model cannot be loaded.
    """
    runner = OnnxRunner.load(model, schema)
    names = [vehicle.vehicle_id for vehicle in fleet.vehicles]
    first = {task.name: f"{task.name}.{task.decision[0]}" for task in schema.tasks if task.decision}
    places: list[list[str]] = [[] for _ in names]
    actual: list[dict[str, list[float]]] = [defaultdict(list) for _ in names]
    decided: list[dict[str, list[bool]]] = [defaultdict(list) for _ in names]
    perceived: list[Mapping[str, float] | None] = [None] * len(names)
    for _ in range(round(plan.seconds / _TICK_S)):
        sensed = fleet.sense_all()
        seen = [index for index, each in enumerate(sensed) if each.cameras is not None]
        if seen:
            pictures = np.stack([picture for index in seen if (picture := sensed[index].cameras) is not None])
            outputs = runner.infer([names[index] for index in seen], pictures)
            stacked = {column: np.stack([output[column] for output in outputs]) for column in schema.columns()}
            acts = decisions(schema, stacked)
            for number, index in enumerate(seen):
                truth = fleet.vehicles[index].truth
                encoded = schema.encode(truth.heads)
                right = decisions(schema, {column: values[None] for column, values in encoded.items()})
                places[index].append(truth.place)
                for task, column in first.items():
                    known = not np.isnan(encoded[column][0])
                    actual[index][task].append(float(right[task][0]) if known else np.nan)
                    decided[index][task].append(bool(acts[task][number]))
                perceived[index] = _as_perceived(schema, truth.heads)
        fleet.act_all(perceived)
    return {
        task: [
            sequence
            for index in range(len(names))
            for sequence in sequences_in(
                places[index], np.array(actual[index][task]), np.array(decided[index][task], np.bool_)
            )
        ]
        for task in first
    }


def _as_perceived(schema: TaskSchema, heads: Mapping[str, Mapping[str, HeadValue]]) -> Mapping[str, float]:
    """What a model would say that is always right, as the binary heads' signals."""
    paths = schema.signal_names("")
    return {
        paths[column][0].removeprefix("."): float(value)
        for column, (task, head) in schema.columns().items()
        if head.kind == "binary" and isinstance(value := heads.get(task.name, {}).get(head.name), int | float)
    }

"""Watches how a vehicle's models do, and says so once a minute: what a rollout is decided on.

A stop task is one that the map can promise (its name is a value of `Map.Feature`) and that has a decision in the
task schema. Nothing here knows a task by name.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import seconds_to_ns
from vehicle_agent.model import Assignment, Report

PREVENTED_WITHIN_NS = seconds_to_ns(5)
"""A stop that only the silent model called for so shortly before an intervention would have prevented it."""
JUDGED_AFTER_NS = seconds_to_ns(8)
"""A stop that only the silent model called for was vain when, so long after, nobody has slowed to half the speed."""
FLICKER_NS = seconds_to_ns(2)
"""An answer that changes and comes back within so long flickered."""
MAP_NEAR_M, MAP_PAST_M, MAP_FAR_M = 18.0, 3.0, 60.0
_MOVING_KMH = 5.0

Answers = Mapping[str, float | str]
"""Signal path without its prefix -> value, such as StopSign.IsSign -> 0.9; a category is a word."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A task's yes or no, as the vehicle takes it."""

    task: str
    paths: tuple[str, ...]
    """Without prefix; more likely than not when the product is above one half."""
    stops: bool
    """The map can promise it, so the car stops for it."""

    def holds(self, answers: Answers) -> bool:
        """True when the car acts on it."""
        likely = 1.0
        for path in self.paths:
            likely *= float(answers.get(path, 0.0))
        return likely > 0.5


def decisions_of(schema: TaskSchema, catalogue: SignalCatalogue) -> tuple[Decision, ...]:
    """All tasks that have a decision."""
    promised = catalogue.signals["Map.Feature"].values if "Map.Feature" in catalogue else ()
    paths = schema.signal_names("")
    return tuple(
        Decision(
            task.name,
            tuple(paths[f"{task.name}.{head}"][0].removeprefix(".") for head in task.decision),
            task.name in promised,
        )
        for task in schema.tasks
        if task.decision
    )


class HealthWatch:
    """One vehicle since its boot. Times are the vehicle's own, monotonic unless they say UTC."""

    def __init__(self, decisions: Sequence[Decision], start_utc_ns: int) -> None:
        self._decisions = decisions
        self._stops = [decision for decision in decisions if decision.stops]
        self._last = dict.fromkeys(("distance_km", "autopilot_km", "interventions"), 0.0)
        self._reported = dict(self._last)
        self._totals: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._times_ms: list[float] = []
        self._start_utc_ns = start_utc_ns
        self._sequence = 0
        self._changes: dict[str, tuple[bool, int]] = {}
        self._silent_stops: deque[int] = deque()
        self._alarm: tuple[int, float] | None = None
        self._disagreeing: Counter[str] = Counter()
        self._promised_at = -(10**18)

    def fault(self, name: str, times: int = 1) -> None:
        """Counts something that went wrong."""
        if times:
            self._faults[name] += times

    def inferred(self, milliseconds: float) -> None:
        """Counts an inference of the active model and the time that it took."""
        self._totals["inferences"] += 1
        self._times_ms.append(milliseconds)

    def tick(self, now_ns: int, counters: Mapping[str, float], speed_kmh: float) -> None:
        """Ten times a second: what the world counted, and how fast the vehicle is."""
        intervened = counters.get("interventions", 0) > self._last["interventions"]
        self._last = {name: float(counters.get(name, 0.0)) for name in self._last}
        while self._silent_stops and self._silent_stops[0] < now_ns - PREVENTED_WITHIN_NS:
            self._silent_stops.popleft()
        if intervened:
            self._totals["would_have_prevented"] += bool(self._silent_stops)
            self._alarm = None
        if self._alarm is not None:
            began_ns, speed_then = self._alarm
            if speed_kmh < speed_then / 2:
                self._alarm = None
            elif now_ns - began_ns >= JUDGED_AFTER_NS:
                self._totals["false_alarms"] += 1
                self._alarm = None

    def frame(
        self,
        now_ns: int,
        active: Answers | None,
        silent: Answers | None,
        speed_kmh: float,
        map_feature: str,
        map_distance_m: float,
    ) -> None:
        """At every picture: what the models said to it. None: no such model, or it failed."""
        if active is None:
            return
        said = {decision.task: decision.holds(active) for decision in self._decisions}
        for task, now in said.items():
            self._flicker(task, now, now_ns)
        self._compare_with_map(now_ns, said, speed_kmh, map_feature, map_distance_m)
        if silent is not None:
            self._compare_with_silent(now_ns, said, silent, speed_kmh)

    def _flicker(self, task: str, now: bool, now_ns: int) -> None:
        before = self._changes.get(task)
        if before is None:
            self._changes[task] = (now, -(10**18))
        elif before[0] != now:
            if now_ns - before[1] <= FLICKER_NS:
                self._totals["flickers"] += 1
            self._changes[task] = (now, now_ns)

    def _compare_with_map(
        self, now_ns: int, said: Mapping[str, bool], speed_kmh: float, feature: str, distance_m: float
    ) -> None:
        for decision in self._stops:
            promised = feature == decision.task
            if promised and distance_m < MAP_FAR_M:
                self._promised_at = now_ns
            missed = promised and MAP_PAST_M < distance_m < MAP_NEAR_M and not said[decision.task]
            invented = said[decision.task] and now_ns - self._promised_at > FLICKER_NS
            if (missed or invented) and speed_kmh > _MOVING_KMH:
                self._disagreeing[decision.task] += 1
                self._totals["map_disagreements"] += self._disagreeing[decision.task] == 2
            else:
                self._disagreeing[decision.task] = 0

    def _compare_with_silent(self, now_ns: int, said: Mapping[str, bool], silent: Answers, speed_kmh: float) -> None:
        other = {decision.task: decision.holds(silent) for decision in self._decisions}
        self._totals["shadow_frames"] += 1
        self._totals["shadow_disagreements"] += said != other
        stops = [decision.task for decision in self._stops]
        if any(other[task] for task in stops) and not any(said[task] for task in stops):
            self._silent_stops.append(now_ns)
            if self._alarm is None and speed_kmh > _MOVING_KMH:
                self._alarm = (now_ns, speed_kmh)

    def due(self, now_utc_ns: int, every_ns: int) -> bool:
        """True when the window is long enough."""
        return now_utc_ns - self._start_utc_ns >= every_ns

    def close(self, end_utc_ns: int, assignment: Assignment, digests: tuple[str, str]) -> Report:
        """The report on the window that ends now; the next one begins. `digests` are of the bytes that ran."""
        times = np.array(self._times_ms) if self._times_ms else np.zeros(1)
        driven = {name: self._last[name] - self._reported[name] for name in self._last}
        report = Report(
            sequence=self._sequence,
            start_utc_ns=self._start_utc_ns,
            end_utc_ns=max(end_utc_ns, self._start_utc_ns),
            model_digest=digests[0],
            shadow_digest=digests[1],
            rollout_id=assignment.rollout_id,
            cohort=assignment.cohort,
            distance_km=max(0.0, driven["distance_km"]),
            autopilot_km=max(0.0, driven["autopilot_km"]),
            interventions=int(driven["interventions"]),
            map_disagreements=self._totals["map_disagreements"],
            flickers=self._totals["flickers"],
            shadow_frames=self._totals["shadow_frames"],
            shadow_disagreements=self._totals["shadow_disagreements"],
            would_have_prevented=self._totals["would_have_prevented"],
            false_alarms=self._totals["false_alarms"],
            inferences=self._totals["inferences"],
            inference_p50_ms=float(np.percentile(times, 50)),
            inference_p99_ms=float(np.percentile(times, 99)),
            faults=dict(self._faults),
        )
        self._sequence += 1
        self._start_utc_ns = max(end_utc_ns, self._start_utc_ns)
        self._reported = dict(self._last)
        self._totals, self._faults, self._times_ms = Counter(), Counter(), []
        return report

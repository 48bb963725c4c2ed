"""Count what a vehicle's models do, and report it once a minute. Rollouts are decided on these reports.

A stop task is one that the map can promise (its name is a value of `Map.Feature`) and that has a decision in the
task schema. Nothing here knows a task by name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import seconds_to_ns
from vehicle_agent.model import Assignment, Report

DECIDED_AFTER_NS = seconds_to_ns(8)
"""This long after the first request for a stop, it is known who was right, unless the driver has said so before."""
FLICKER_NS = seconds_to_ns(2)
"""A decision that changes and changes back within this time flickers."""
MAP_NEAR_M, MAP_PAST_M, MAP_FAR_M = 18.0, 3.0, 60.0
"""Distances to a feature of the map: it should be seen below the first and above the second, and may be below the
third.
"""
_MOVING_KMH = 5.0

Answers = Mapping[str, float | str]
"""Values by signal path without prefix, for example 0.9 for StopSign.IsSign; a category has its name."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A task's decision, as the vehicle takes it."""

    task: str
    paths: tuple[str, ...]
    """Paths without prefix. The decision holds if the product of their values is above one half."""
    stops: bool
    """True if the map can promise it, which means that the car stops for it."""

    def holds(self, answers: Answers) -> bool:
        """Return True if the car acts on these answers."""
        likely = 1.0
        for path in self.paths:
            likely *= float(answers.get(path, 0.0))
        return likely > 0.5


def decisions_of(schema: TaskSchema, catalogue: SignalCatalogue) -> tuple[Decision, ...]:
    """Return the decisions of all tasks that have one."""
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


_CLOCK_STEP_NS = seconds_to_ns(1)
"""Difference between UTC and the monotonic clock over a window that counts as a step of UTC."""


@dataclass(slots=True)
class Approach:
    """What happens from a model's request for a stop until it is known whether the stop was needed."""

    began_ns: int
    speed_kmh: float
    engaged: bool
    """Whether the active model drove."""
    active: bool = False
    """Whether the active model requested a stop."""
    shadow: bool = False
    slowest_kmh: float = math.inf

    def needed(self) -> bool | None:
        """Whether the stop was needed, when the driver said nothing; None when what happened does not tell.

        A vehicle that drove on did not have to stop. One that slowed down did, where a person drove, or let the stop
        of the active model happen. Any other reason to slow down, such as traffic, says nothing about a stop.
        """
        if self.slowest_kmh >= self.speed_kmh / 2:
            return False
        return True if self.active or not self.engaged else None


class HealthWatch:
    """The counters of one vehicle since its boot. Times are monotonic unless they are named UTC."""

    def __init__(self, decisions: Sequence[Decision], start_utc_ns: int) -> None:
        self._decisions = decisions
        self._stops = [decision for decision in decisions if decision.stops]
        self._last = dict.fromkeys(("distance_km", "autopilot_km", "interventions", "overrides"), 0.0)
        self._reported = dict(self._last)
        self._totals: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._times_ms: list[float] = []
        self._start_utc_ns = start_utc_ns
        self._began_ns: int | None = None
        """Start of the window on the monotonic clock; None before the first tick."""
        self._now_ns = 0
        self._sequence = 0
        self._changes: dict[str, tuple[bool, int]] = {}
        self._approach: Approach | None = None
        self._quiet_since_ns = -(10**18)
        """When either model last requested a stop: the next request after a pause begins another approach."""
        self._shadow_runs = False
        self._engaged = True
        self._disagreeing: Counter[str] = Counter()
        self._promised_at = -(10**18)

    def fault(self, name: str, times: int = 1) -> None:
        """Count a fault."""
        if times:
            self._faults[name] += times

    def inferred(self, milliseconds: float) -> None:
        """Count an inference of the active model with its duration."""
        self._totals["inferences"] += 1
        self._times_ms.append(milliseconds)

    def tick(self, now_ns: int, counters: Mapping[str, float], speed_kmh: float, *, engaged: bool = True) -> None:
        """Update the counters at every tick.

        Args:
            now_ns: Monotonic time.
            counters: The world's counters since the start of the drive.
            speed_kmh: Speed of the vehicle.
            engaged: Whether the active model drives.
        """
        self._now_ns = now_ns
        self._began_ns = now_ns if self._began_ns is None else self._began_ns
        took_over = [float(counters.get(name, 0.0)) > self._last[name] for name in ("interventions", "overrides")]
        self._last = {name: float(counters.get(name, 0.0)) for name in self._last}
        approach = self._approach
        if approach is not None:
            approach.slowest_kmh = min(approach.slowest_kmh, speed_kmh)
        if any(took_over):
            if approach is None and self._shadow_runs and took_over[0]:
                approach = Approach(now_ns, speed_kmh, self._engaged)  # neither model requested the stop
            self._decide(approach, needed=took_over[0])
        elif approach is not None and now_ns - approach.began_ns >= DECIDED_AFTER_NS:
            self._decide(approach, approach.needed())
        self._engaged = engaged

    def _decide(self, approach: Approach | None, needed: bool | None) -> None:
        """Count who was right, if it is known, and end the approach."""
        self._approach = None
        if approach is None or needed is None:
            return
        self._totals["decisions"] += 1
        if approach.active == approach.shadow:
            return
        if needed:
            self._totals["would_have_prevented" if approach.shadow else "would_have_missed"] += 1
        else:
            self._totals["false_alarms" if approach.shadow else "would_have_avoided"] += 1

    def frame(
        self,
        now_ns: int,
        active: Answers | None,
        shadow: Answers | None,
        speed_kmh: float,
        map_feature: str,
        map_distance_m: float,
    ) -> None:
        """Compare the models' answers to a picture with each other and with the map.

        Answers are None if there is no such model, or if it failed.
        """
        self._shadow_runs = shadow is not None
        if active is None:
            return
        decided = {decision.task: decision.holds(active) for decision in self._decisions}
        for task, now in decided.items():
            self._flicker(task, now, now_ns)
        self._compare_with_map(now_ns, decided, speed_kmh, map_feature, map_distance_m)
        if shadow is not None:
            self._compare_with_shadow(now_ns, decided, shadow, speed_kmh)

    def _flicker(self, task: str, now: bool, now_ns: int) -> None:
        before = self._changes.get(task)
        if before is None:
            self._changes[task] = (now, -(10**18))
        elif before[0] != now:
            if now_ns - before[1] <= FLICKER_NS:
                self._totals["flickers"] += 1
            self._changes[task] = (now, now_ns)

    def _compare_with_map(
        self, now_ns: int, decided: Mapping[str, bool], speed_kmh: float, feature: str, distance_m: float
    ) -> None:
        for decision in self._stops:
            promised = feature == decision.task
            if promised and distance_m < MAP_FAR_M:
                self._promised_at = now_ns
            missed = promised and MAP_PAST_M < distance_m < MAP_NEAR_M and not decided[decision.task]
            invented = decided[decision.task] and now_ns - self._promised_at > FLICKER_NS
            if (missed or invented) and speed_kmh > _MOVING_KMH:
                self._disagreeing[decision.task] += 1
                self._totals["map_disagreements"] += self._disagreeing[decision.task] == 2
            else:
                self._disagreeing[decision.task] = 0

    def _compare_with_shadow(
        self, now_ns: int, decided: Mapping[str, bool], shadow: Answers, speed_kmh: float
    ) -> None:
        other = {decision.task: decision.holds(shadow) for decision in self._decisions}
        self._totals["shadow_frames"] += 1
        self._totals["shadow_disagreements"] += decided != other
        stops = [decision.task for decision in self._stops]
        active_stops, shadow_stops = (any(each[task] for task in stops) for each in (decided, other))
        if active_stops or shadow_stops:
            paused = now_ns - self._quiet_since_ns > FLICKER_NS
            if self._approach is None and paused and speed_kmh > _MOVING_KMH:
                self._approach = Approach(now_ns, speed_kmh, self._engaged)
            self._quiet_since_ns = now_ns
        if self._approach is not None:
            self._approach.active |= active_stops
            self._approach.shadow |= shadow_stops

    def due(self, every_ns: int) -> bool:
        """Return True if the window is at least `every_ns` long, whatever UTC was set to meanwhile."""
        return self._elapsed_ns() >= every_ns

    def _elapsed_ns(self) -> int:
        return 0 if self._began_ns is None else self._now_ns - self._began_ns

    def close(self, end_utc_ns: int, assignment: Assignment, digests: tuple[str, str]) -> Report:
        """Return the report of the window that ends now, and begin the next one.

        Args:
            end_utc_ns: End of the window.
            assignment: What the director assigned.
            digests: Digests of the active and the shadow model that ran.
        """
        start_utc_ns = self._start_utc_ns
        stepped = abs(end_utc_ns - start_utc_ns - self._elapsed_ns()) > _CLOCK_STEP_NS
        if self._began_ns is not None and stepped:
            start_utc_ns = max(0, end_utc_ns - self._elapsed_ns())
        times = np.array(self._times_ms) if self._times_ms else np.zeros(1)
        driven = {name: self._last[name] - self._reported[name] for name in self._last}
        report = Report(
            sequence=self._sequence,
            start_utc_ns=start_utc_ns,
            end_utc_ns=max(end_utc_ns, start_utc_ns),
            model_digest=digests[0],
            shadow_digest=digests[1],
            rollout_id=assignment.rollout_id,
            cohort=assignment.cohort,
            distance_km=max(0.0, driven["distance_km"]),
            autopilot_km=max(0.0, driven["autopilot_km"]),
            interventions=int(driven["interventions"]),
            overrides=int(driven["overrides"]),
            map_disagreements=self._totals["map_disagreements"],
            flickers=self._totals["flickers"],
            shadow_frames=self._totals["shadow_frames"],
            shadow_disagreements=self._totals["shadow_disagreements"],
            would_have_prevented=self._totals["would_have_prevented"],
            false_alarms=self._totals["false_alarms"],
            decisions=self._totals["decisions"],
            would_have_avoided=self._totals["would_have_avoided"],
            would_have_missed=self._totals["would_have_missed"],
            inferences=self._totals["inferences"],
            inference_p50_ms=float(np.percentile(times, 50)),
            inference_p99_ms=float(np.percentile(times, 99)),
            faults=dict(self._faults),
        )
        self._sequence += 1
        if self._began_ns is not None:
            self._start_utc_ns, self._began_ns = end_utc_ns, self._now_ns
        self._reported = dict(self._last)
        self._totals, self._faults, self._times_ms = Counter(), Counter(), []
        return report

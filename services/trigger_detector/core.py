"""The detector: from batches in the log's order to firings. Nothing here knows Kafka, a clock or chance.

State depends on the log alone. Everything that is remembered is forgotten after ``Limits.memory_s`` by event
time and by the broker's append time, and is decided from what was remembered then; so whoever replays
``horizon_s`` of the log has the same state, wherever polls were cut and however often the process died.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.ids import causal_id
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.machine import Moment, Segment
from fleetloop.triggerlang.program import LATITUDE, LONGITUDE
from fleetloop.triggerlang.reading import Batches
from trigger_detector.admission import (
    ADMITTED,
    DUPLICATE,
    LATE,
    TOO_LATE,
    Run,
    VehicleState,
    admit,
    place_in_run,
)
from trigger_detector.model import Appended, Firing, Tally
from trigger_detector.plan import Active, Plan, applies_to, inside, interval_ns

_LONGEST_RUN = 16
"""Batches of one vehicle that are evaluated in one go: more would leave the processor's cache."""


@dataclass(slots=True)
class DetectorState:
    """One partition's state. ``step`` takes it over: use only the one that it returns."""

    vehicles: dict[bytes, VehicleState] = field(default_factory=dict)
    """By the bytes that name fleet, vehicle and boot on the wire."""
    newest_append_ms: int = 0
    swept_append_ms: int = 0

    def nbytes(self) -> int:
        """Bytes of what is remembered of all vehicles; the containers around it come on top."""
        return sum(v.nbytes() for v in self.vehicles.values())


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found, in the log's order."""

    firings: tuple[Firing, ...]
    tally: Tally
    places: tuple[int, ...] = ()
    """Of each firing's batch in the step's input."""


@dataclass(frozen=True, slots=True)
class Poll:
    """The next batches of one partition, in the log's order, all of which passed the catalogue's check."""

    raws: Sequence[bytes]
    append_ms: npt.NDArray[np.int64]
    batches: Batches

    def part(self, begin: int, end: int) -> Poll:
        """Only some of its batches."""
        if begin == 0 and end == len(self.raws):
            return self
        return Poll(self.raws[begin:end], self.append_ms[begin:end], self.batches.part(begin, end))


class _Candidate(NamedTuple):
    """A moment at which a trigger could fire, before who, where and how often are looked at."""

    place: int
    onset_ns: int
    trigger: int
    state: VehicleState
    moment: Moment


def poll_of(batches: Sequence[Appended], plan: Plan) -> Poll:
    """Checked batches in the form in which the log has them."""
    raws = [encode_batch(_with_points(a.batch)).SerializeToString() for a in batches]
    read = plan.reader.read(raws, np.ones(len(raws), np.bool_))
    if not read.plain.all():
        batch = batches[int(np.argmin(read.plain))].batch
        raise ValueError(f"batch {batch.sequence} of {batch.vehicle_id} did not pass the catalogue's check")
    return Poll(raws, np.array([a.append_ms for a in batches], np.int64), read)


def _with_points(batch: FrameBatch) -> FrameBatch:
    """Without the columns that have no instant: the wire has no form for them, and they say nothing."""
    columns = {path: c for path, c in batch.columns.items() if c.offsets_ns is None or len(c.offsets_ns)}
    return batch if len(columns) == len(batch.columns) else replace(batch, columns=columns)


def step(state: DetectorState, batches: Sequence[Appended], plan: Plan) -> tuple[DetectorState, Step]:
    """Takes the next batches of one partition, in the log's order, all of which passed the catalogue's check.

    Returns the state after them and the firings. A plan with other triggers needs a fresh state and a replay.
    """
    return judge(state, poll_of(batches, plan), plan)


def judge(state: DetectorState, poll: Poll, plan: Plan) -> tuple[DetectorState, Step]:
    """As ``step``, for batches as they lie in the log."""
    rounds, tally = _rounds(state, poll, plan)
    candidates: list[_Candidate] = []
    if plan.actives:
        for runs in rounds:
            candidates += _evaluate(runs, poll, plan)
    candidates.sort(key=lambda c: c[:3])
    firings, places = [], []
    messages: dict[int, telemetry_pb2.TelemetryBatch] = {}
    for candidate in candidates:
        firing = _fire(candidate, poll, plan, messages)
        if firing is not None:
            firings.append(firing)
            places.append(candidate.place)
    _sweep(state, plan)
    return state, Step(tuple(firings), tally, tuple(places))


def _rounds(state: DetectorState, poll: Poll, plan: Plan) -> tuple[list[list[Run]], Tally]:
    """Runs that can be evaluated together, round after round."""
    counts = dict.fromkeys((ADMITTED, DUPLICATE, LATE, TOO_LATE), 0)
    frames = 0
    rounds: list[list[Run]] = []
    current: dict[bytes, tuple[int, Run]] = {}

    def append(run: Run, number: int) -> None:
        while len(rounds) <= number:
            rounds.append([])
        rounds[number].append(run)

    read = poll.batches
    columns = (read.key_size, read.sequence, read.start_ns, read.end_ns, poll.append_ms, read.frames)
    known = state.vehicles
    for place, (key_size, sequence, start_ns, end_ns, append_ms, own) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        key = poll.raws[place][:key_size]
        vehicle = known.get(key)
        if vehicle is None:
            vehicle = known[key] = VehicleState()
        if append_ms > state.newest_append_ms:
            state.newest_append_ms = append_ms
        verdict = admit(vehicle, sequence, start_ns, end_ns, append_ms, plan.limits)
        counts[verdict] += 1
        if verdict == ADMITTED:
            frames += own
            number, run = current.get(key, (-1, None))
            if run is not None and len(run.places) >= _LONGEST_RUN:
                run = None
            fresh = place_in_run(vehicle, run, place, start_ns, end_ns, plan)
            if fresh is not None:
                append(fresh, number + 1)
                current[key] = (number + 1, fresh)
        elif verdict == LATE:
            frames += own
            append(Run(vehicle, [place], late=True, end_ns=end_ns), 0)
    tally = Tally(len(poll.raws), frames, counts[DUPLICATE], counts[LATE], counts[TOO_LATE])
    return rounds, tally


def _evaluate(runs: Sequence[Run], poll: Poll, plan: Plan) -> list[_Candidate]:
    """All triggers over all runs of a round."""
    segments = [Segment(r.state.memory, r.places, r.end_ns, r.forget_until_ns, r.late) for r in runs]
    outcome = plan.machine.run(poll.batches, poll.append_ms, segments)
    for run, memory in zip(runs, outcome.memories, strict=True):
        if not run.late:
            run.state.memory = memory
    return [_Candidate(m.batch, m.onset_ns, m.trigger, runs[m.segment].state, m) for m in outcome.moments]


def _fire(
    candidate: _Candidate, poll: Poll, plan: Plan, messages: dict[int, telemetry_pb2.TelemetryBatch]
) -> Firing | None:
    """The firing of a candidate, None where the trigger is not in force there or its slot is taken."""
    active, place = plan.actives[candidate.trigger], candidate.place
    trigger, onset_ns = active.trigger, candidate.onset_ns
    message = messages.get(place)
    if message is None:
        message = messages[place] = telemetry_pb2.TelemetryBatch.FromString(poll.raws[place])
    if not applies_to(trigger, message.fleet_id, message.vehicle_id):
        return None
    names = plan.evidence[candidate.trigger]
    known = {n: v for n, v in zip(names, candidate.moment.evidence, strict=True) if v == v}
    latitude, longitude = known.get(LATITUDE), known.get(LONGITUDE)
    where = None if latitude is None or longitude is None else (latitude, longitude)
    if trigger.geofence is not None and (where is None or not inside(trigger.geofence, *where)):
        return None
    slot = onset_ns // interval_ns(trigger)
    taken = candidate.state.taken(candidate.trigger)
    append_ms, memory_ms = int(poll.append_ms[place]), round(plan.limits.memory_s() * 1000)
    for old in [s for s, at_ms in taken.items() if at_ms < append_ms - memory_ms]:
        del taken[old]
    first = slot not in taken
    taken[slot] = append_ms
    if not first:
        return None
    held = zip(plan.named[candidate.trigger], candidate.moment.named, strict=True)
    conditions = tuple(name for name, truth in held if truth)
    return _firing(candidate, active, message, slot, where, conditions, known)


def _firing(
    candidate: _Candidate,
    active: Active,
    batch: telemetry_pb2.TelemetryBatch,
    slot: int,
    place: tuple[float, float] | None,
    conditions: tuple[str, ...],
    evidence: dict[str, float],
) -> Firing:
    trigger = active.trigger
    cause = (batch.fleet_id, batch.vehicle_id, batch.boot_id, trigger.name, trigger.version, slot)
    return Firing(
        firing_id=causal_id("firing", *cause),
        fleet_id=batch.fleet_id,
        vehicle_id=batch.vehicle_id,
        boot_id=batch.boot_id,
        sequence=batch.sequence,
        campaign=active.campaign,
        trigger=trigger,
        onset_monotonic_ns=candidate.onset_ns,
        onset_utc_ns=batch.start_utc_ns + (candidate.onset_ns - batch.start_monotonic_ns),
        slot=slot,
        conditions=conditions,
        evidence=evidence,
        place=place,
        model_digest=batch.model_digest,
        shadow_digest=batch.shadow_model_digest,
    )


def _sweep(state: DetectorState, plan: Plan) -> None:
    """Forgets vehicles that were silent for so long that nothing of their state counts any more."""
    horizon_ms = round(plan.limits.horizon_s * 1000)
    if state.newest_append_ms - state.swept_append_ms < horizon_ms // 4:
        return
    state.swept_append_ms = state.newest_append_ms
    gone = [
        key
        for key, vehicle in state.vehicles.items()
        if vehicle.newest_append_ms() < state.newest_append_ms - horizon_ms
    ]
    for key in gone:
        del state.vehicles[key]

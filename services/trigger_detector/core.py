"""The detector: from batches in the log's order to firings. Nothing here knows Kafka, a clock or chance.

State depends on the log alone. Everything that is remembered is forgotten after ``Limits.memory_s`` by event
time and by the broker's append time, and is decided from what was remembered then; so whoever replays
``horizon_s`` of the log has the same state, wherever polls were cut and however often the process died.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fleetdomain.frames import FrameBatch
from fleetkit.ids import causal_id
from trigger_detector.admission import (
    ADMITTED,
    DUPLICATE,
    LATE,
    TOO_LATE,
    Run,
    VehicleState,
    admit,
    forgotten,
    place_in_run,
)
from trigger_detector.model import Appended, Firing, Tally
from trigger_detector.onsets import Edges, Ints, Moments, first_per_slot, moments_of, rising
from trigger_detector.plan import Active, Plan, applies_to, inside
from triggerlang.block import Block, Segment
from triggerlang.evaluate import Evaluation, Query
from triggerlang.program import LATITUDE, LONGITUDE
from triggerlang.trigger import ALWAYS

Key = tuple[str, str, bytes]


@dataclass(slots=True)
class DetectorState:
    """One partition's state. ``step`` takes it over: use only the one that it returns."""

    vehicles: dict[Key, VehicleState] = field(default_factory=dict)
    newest_append_ms: int = 0
    swept_append_ms: int = 0

    def nbytes(self) -> int:
        """Bytes of all vehicles' arrays."""
        return sum(v.nbytes() for v in self.vehicles.values())


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found, in the log's order."""

    firings: tuple[Firing, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A moment at which a trigger could fire, before who, where, when and how often are looked at."""

    place: int
    """Of its batch in the step's input."""
    onset_ns: int
    trigger: int
    state: VehicleState
    appended: Appended
    conditions: tuple[str, ...]
    evidence: dict[str, float]


def step(state: DetectorState, batches: Sequence[Appended], plan: Plan) -> tuple[DetectorState, Step]:
    """Takes the next batches of one partition, in the log's order, all of which passed the catalogue's check.

    Returns the state after them and the firings. A plan with other triggers needs a fresh state and a replay.
    """
    rounds, tally = _rounds(state, batches, plan)
    candidates: list[_Candidate] = []
    if plan.actives:
        for runs in rounds:
            candidates += _evaluate(runs, plan)
    candidates.sort(key=lambda c: (c.place, c.onset_ns, c.trigger))
    firings = [f for f in (_fire(c, plan) for c in candidates) if f is not None]
    _sweep(state, plan)
    return state, Step(tuple(firings), tally)


def _rounds(state: DetectorState, batches: Sequence[Appended], plan: Plan) -> tuple[list[list[Run]], Tally]:
    """Runs that can be evaluated together, round after round."""
    counts = dict.fromkeys((ADMITTED, DUPLICATE, LATE, TOO_LATE), 0)
    frames = 0
    rounds: list[list[Run]] = []
    current: dict[Key, tuple[int, Run]] = {}

    def append(run: Run, number: int) -> None:
        while len(rounds) <= number:
            rounds.append([])
        rounds[number].append(run)

    triggers = len(plan.actives)
    for place, appended in enumerate(batches):
        batch = appended.batch
        key = (batch.fleet_id, batch.vehicle_id, batch.boot_id)
        vehicle = state.vehicles.get(key)
        if vehicle is None:
            vehicle = state.vehicles[key] = VehicleState(
                false_s=np.full(triggers, -1, np.int32), false_append_s=np.full(triggers, -1, np.int32)
            )
        state.newest_append_ms = max(state.newest_append_ms, appended.append_ms)
        verdict = admit(vehicle, appended, plan)
        counts[verdict] += 1
        if verdict in (ADMITTED, LATE):
            frames += batch.frames()
        if verdict == LATE:
            append(Run(vehicle, [place], [appended], late=True, end_ns=vehicle.seen[-1].end_ns), 0)
        elif verdict == ADMITTED:
            number, run = current.get(key, (-1, None))
            fresh = place_in_run(vehicle, run, place, appended, plan)
            if fresh is not None:
                append(fresh, number + 1)
                current[key] = (number + 1, fresh)
    tally = Tally(len(batches), frames, counts[DUPLICATE], counts[LATE], counts[TOO_LATE])
    return rounds, tally


def _evaluate(runs: Sequence[Run], plan: Plan) -> list[_Candidate]:
    """All triggers over all runs of a round, in one pass of arrays."""
    segments = []
    for run in runs:
        history = {} if run.late else forgotten(run.state.history, run.forget_until_ns)
        segments.append(Segment(history, [a.batch for a in run.batches], run.end_ns))
    block = Block(plan.program, segments)
    evaluation = Evaluation(block)
    in_order = np.array([not run.late for run in runs])
    batches = [(run, i) for run in runs for i in range(len(run.batches))]
    starts = [a.batch.start_monotonic_ns + int(block.bases[s]) for s, run in enumerate(runs) for a in run.batches]
    batch_keys = np.array(starts, np.int64)
    append_ms = np.array([run.batches[i].append_ms for run, i in batches], np.int64)
    shifts = [run.batches[i].batch.start_utc_ns - run.batches[i].batch.start_monotonic_ns for run, i in batches]
    utc_shift_ns = np.array(shifts, np.int64)
    false_s = np.stack([run.state.false_s for run in runs])
    false_append_s = np.stack([run.state.false_append_s for run in runs])
    false_s[~in_order] = -1
    memory_s = int(plan.limits.memory_s())
    known: dict[int, Moments] = {}
    found: list[_Candidate] = []
    for number, (active, compiled) in enumerate(zip(plan.actives, plan.program.triggers, strict=True)):
        query = evaluation.new_instants(compiled.condition)
        codes = evaluation.at(compiled.condition, query)
        if id(query) not in known:
            known[id(query)] = moments_of(block, query, batch_keys, append_ms)
        moments = known[id(query)]
        if active.trigger.mode == ALWAYS:
            onsets = np.flatnonzero(codes == 2)
        else:
            before = Edges(false_s[:, number], false_append_s[:, number])
            onsets, after = rising(codes, moments, before, memory_s)
            false_s[:, number], false_append_s[:, number] = after.false_s, after.false_append_s
        if len(onsets):
            onsets = _in_force(onsets, moments, active, batch_keys, utc_shift_ns)
        if active.trigger.geofence is None:  # inside a fence a later one of the slot may count
            onsets = first_per_slot(onsets, moments, _interval_ns(active))
        if len(onsets):
            keys = moments.keys[onsets]
            places = np.searchsorted(batch_keys, keys, side="right") - 1
            found += _candidates(evaluation, plan, number, keys, moments.times_ns[onsets], places, batches)
    tails = block.tails()
    for row, run in enumerate(runs):
        if not run.late:
            run.state.history = tails[row]
            run.state.false_s, run.state.false_append_s = false_s[row].copy(), false_append_s[row].copy()
    return found


def _in_force(onsets: Ints, moments: Moments, active: Active, batch_keys: Ints, utc_shift_ns: Ints) -> Ints:
    """The positions at which a trigger is in force, so that thinning them out by slot keeps one that counts."""
    batch = np.searchsorted(batch_keys, moments.keys[onsets], side="right") - 1
    utc_ns = moments.times_ns[onsets] + utc_shift_ns[batch]
    until_ns = active.until_utc_ns or np.iinfo(np.int64).max
    return onsets[(utc_ns >= active.from_utc_ns) & (utc_ns < until_ns)]


def _candidates(
    evaluation: Evaluation,
    plan: Plan,
    number: int,
    keys: Ints,
    times_ns: Ints,
    places: Ints,
    batches: Sequence[tuple[Run, int]],
) -> list[_Candidate]:
    """The moments of one trigger with the named conditions that held and the evidence."""
    compiled = plan.program.triggers[number]
    query = Query(keys)
    held = [(name, evaluation.at(node, query) == 2) for name, node in compiled.named]
    values = []
    for path, node in compiled.evidence:
        value = evaluation.at(node, query)
        # a condition's codes 0, 1, 2 are reported as 0, unknown, 1
        number_of = np.where(value == 1, np.nan, value / 2) if value.dtype == np.int8 else value
        values.append((path, number_of))
    found = []
    for i, (place, onset_ns) in enumerate(zip(places.tolist(), times_ns.tolist(), strict=True)):
        run, index = batches[place]
        names = tuple(name for name, truth in held if truth[i])
        evidence = {path: float(value[i]) for path, value in values if not np.isnan(value[i])}
        appended = run.batches[index]
        found.append(_Candidate(run.places[index], onset_ns, number, run.state, appended, names, evidence))
    return found


def _fire(candidate: _Candidate, plan: Plan) -> Firing | None:
    """The firing of a candidate, None where the trigger is not in force there or its slot is taken."""
    active, batch = plan.actives[candidate.trigger], candidate.appended.batch
    trigger, onset_ns = active.trigger, candidate.onset_ns
    utc_ns = batch.start_utc_ns + (onset_ns - batch.start_monotonic_ns)
    if utc_ns < active.from_utc_ns or (active.until_utc_ns and utc_ns >= active.until_utc_ns):
        return None
    if not applies_to(trigger, batch.fleet_id, batch.vehicle_id):
        return None
    latitude, longitude = candidate.evidence.get(LATITUDE), candidate.evidence.get(LONGITUDE)
    place = None if latitude is None or longitude is None else (latitude, longitude)
    if trigger.geofence is not None and (place is None or not inside(trigger.geofence, *place)):
        return None
    slot = onset_ns // _interval_ns(active)
    taken = candidate.state.slots.setdefault(candidate.trigger, {})
    append_ms, memory_ms = candidate.appended.append_ms, round(plan.limits.memory_s() * 1000)
    for old in [s for s, at_ms in taken.items() if at_ms < append_ms - memory_ms]:
        del taken[old]
    first = slot not in taken
    taken[slot] = append_ms
    return _firing(candidate, active, batch, utc_ns, slot, place) if first else None


def _firing(
    candidate: _Candidate,
    active: Active,
    batch: FrameBatch,
    utc_ns: int,
    slot: int,
    place: tuple[float, float] | None,
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
        onset_utc_ns=utc_ns,
        slot=slot,
        conditions=candidate.conditions,
        evidence=candidate.evidence,
        place=place,
        model_digest=batch.model_digest,
        shadow_digest=batch.shadow_digest,
    )


def _interval_ns(active: Active) -> int:
    return max(1, round(active.trigger.min_interval_s * 1e9))


def _sweep(state: DetectorState, plan: Plan) -> None:
    """Forgets vehicles that were silent for so long that nothing of their state counts any more."""
    horizon_ms = round(plan.limits.horizon_s * 1000)
    if state.newest_append_ms - state.swept_append_ms < horizon_ms // 4:
        return
    state.swept_append_ms = state.newest_append_ms
    gone = [
        key
        for key, vehicle in state.vehicles.items()
        if not vehicle.seen or vehicle.seen[-1].append_ms < state.newest_append_ms - horizon_ms
    ]
    for key in gone:
        del state.vehicles[key]

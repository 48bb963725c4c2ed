"""The detector: from batches in the log's order to firings, without Kafka, clock or randomness.

State depends only on the log. Everything that is remembered is forgotten after ``Limits.memory_s`` by event time and
by the broker's append time. So a process that replays ``horizon_s`` of the log has the same state, wherever polls
were cut and however often the process died.

Unlike other cores, this one changes the state that it is given: a partition's state is many megabytes, and copying it
for every poll would cost more than evaluating it.
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
from fleetloop.kit.process.clock import seconds_to_ms
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
    add_to_run,
    admit,
)
from trigger_detector.model import Appended, Firing, Tally
from trigger_detector.plan import Active, Plan, applies_to, inside, interval_ns

_LONGEST_RUN = 16
"""Most batches of one vehicle that are evaluated together: more points do not fit into the processor's cache."""


@dataclass(slots=True)
class DetectorState:
    """One partition's state, which ``evaluate_in_place`` changes."""

    vehicles: dict[bytes, VehicleState] = field(default_factory=dict)
    """By the bytes that name fleet, vehicle and boot on the wire."""
    newest_append_ms: int = 0
    """The broker's newest time."""
    swept_append_ms: int = 0
    """The broker's time when silent vehicles were last deleted."""

    def nbytes(self) -> int:
        """Bytes of what is remembered of all vehicles, without the containers around it."""
        return sum(v.nbytes() for v in self.vehicles.values())


@dataclass(frozen=True, slots=True)
class Step:
    """What an evaluation found, in the log's order."""

    firings: tuple[Firing, ...]
    tally: Tally
    batches: tuple[int, ...] = ()
    """For each firing the position of its batch in the input."""


@dataclass(frozen=True, slots=True)
class Poll:
    """The next batches of one partition, in the log's order, all of which passed the catalogue's check."""

    raws: Sequence[bytes]
    """Their bytes."""
    append_ms: npt.NDArray[np.int64]
    """(batches,) the broker's time of each."""
    batches: Batches
    """What the plan's reader found in them."""

    def part(self, begin: int, end: int) -> Poll:
        """The batches from ``begin`` up to but not including ``end``."""
        if begin == 0 and end == len(self.raws):
            return self
        return Poll(self.raws[begin:end], self.append_ms[begin:end], self.batches.part(begin, end))


class _Candidate(NamedTuple):
    """A moment at which a trigger fires unless vehicle, geofence or slot forbid it. Sorted by the first three."""

    batch: int
    """Position in the poll."""
    onset_ns: int
    trigger: int
    state: VehicleState
    moment: Moment


def poll_of(batches: Sequence[Appended], plan: Plan) -> Poll:
    """Checked batches in the form that they have in the log. Raises ``ValueError`` for one that was not checked."""
    raws = [encode_batch(_with_points(a.batch)).SerializeToString() for a in batches]
    read = plan.reader.read(raws, np.ones(len(raws), np.bool_))
    if not read.plain.all():
        batch = batches[int(np.argmin(read.plain))].batch
        raise ValueError(
            f"batch {batch.sequence} of {batch.vehicle_id} fails the catalogue's check; validate it first"
        )
    return Poll(raws, np.array([a.append_ms for a in batches], np.int64), read)


def _with_points(batch: FrameBatch) -> FrameBatch:
    """The batch without columns that have no instant: the wire format cannot express them."""
    columns = {path: c for path, c in batch.columns.items() if c.offsets_ns is None or len(c.offsets_ns)}
    return batch if len(columns) == len(batch.columns) else replace(batch, columns=columns)


def evaluate_batches_in_place(state: DetectorState, batches: Sequence[Appended], plan: Plan) -> Step:
    """Like ``evaluate_in_place``, for decoded batches, all of which passed the catalogue's check."""
    return evaluate_in_place(state, poll_of(batches, plan), plan)


def evaluate_in_place(state: DetectorState, poll: Poll, plan: Plan) -> Step:
    """Evaluates the next batches of one partition.

    Args:
        state: The state before them; changed to the state after them. A plan with other triggers needs a new state
            and a replay.
        poll: The batches, in the log's order.
        plan: The triggers in force.

    Returns:
        The firings.
    """
    rounds, tally = _rounds(state, poll, plan)
    candidates: list[_Candidate] = []
    if plan.actives:
        for runs in rounds:
            candidates += _evaluate(runs, poll, plan)
    candidates.sort(key=lambda c: c[:3])
    firings, batches = [], []
    messages: dict[int, telemetry_pb2.TelemetryBatch] = {}
    for candidate in candidates:
        firing = _fire(candidate, poll, plan, messages)
        if firing is not None:
            firings.append(firing)
            batches.append(candidate.batch)
    _delete_silent(state, plan)
    return Step(tuple(firings), tally, tuple(batches))


def _rounds(state: DetectorState, poll: Poll, plan: Plan) -> tuple[list[list[Run]], Tally]:
    """The poll's runs in rounds: those of one round are evaluated together, at most one per vehicle that is not late.

    Updates what each vehicle's state says of its batches.
    """
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
    for index, (key_size, sequence, start_ns, end_ns, append_ms, own) in enumerate(
        zip(*(c.tolist() for c in columns), strict=True)
    ):
        key = poll.raws[index][:key_size]
        vehicle = known.get(key)
        if vehicle is None:
            vehicle = known[key] = VehicleState()
        if append_ms > state.newest_append_ms:
            state.newest_append_ms = append_ms
        outcome = admit(vehicle, sequence, start_ns, end_ns, append_ms, plan.limits)
        counts[outcome] += 1
        if outcome == ADMITTED:
            frames += own
            number, run = current.get(key, (-1, None))
            if run is not None and len(run.batches) >= _LONGEST_RUN:
                run = None
            new = add_to_run(vehicle, run, index, start_ns, end_ns, plan)
            if new is not None:
                append(new, number + 1)
                current[key] = (number + 1, new)
        elif outcome == LATE:
            frames += own
            append(Run(vehicle, [index], late=True, end_ns=end_ns), 0)
    tally = Tally(len(poll.raws), frames, counts[DUPLICATE], counts[LATE], counts[TOO_LATE])
    return rounds, tally


def _evaluate(runs: Sequence[Run], poll: Poll, plan: Plan) -> list[_Candidate]:
    """Evaluates all triggers on all runs of a round, and notes what is to be remembered."""
    segments = [Segment(r.state.memory, r.batches, r.end_ns, r.forget_until_ns, r.late) for r in runs]
    result = plan.machine.run(poll.batches, poll.append_ms, segments)
    for run, memory in zip(runs, result.memories, strict=True):
        if not run.late:
            run.state.memory = memory
    return [_Candidate(m.batch, m.onset_ns, m.trigger, runs[m.segment].state, m) for m in result.moments]


def _fire(
    candidate: _Candidate, poll: Poll, plan: Plan, messages: dict[int, telemetry_pb2.TelemetryBatch]
) -> Firing | None:
    """The firing of a candidate, or None if the trigger does not apply there or has fired in the slot."""
    active, trigger = plan.actives[candidate.trigger], plan.actives[candidate.trigger].trigger
    message = messages.get(candidate.batch)
    if message is None:
        message = messages[candidate.batch] = telemetry_pb2.TelemetryBatch.FromString(poll.raws[candidate.batch])
    if not applies_to(trigger, message.fleet_id, message.vehicle_id):
        return None
    names = plan.evidence[candidate.trigger]
    # NaN, the only value that is not equal to itself, means unknown.
    known = {n: v for n, v in zip(names, candidate.moment.evidence, strict=True) if v == v}
    latitude, longitude = known.get(LATITUDE), known.get(LONGITUDE)
    location = None if latitude is None or longitude is None else (latitude, longitude)
    if trigger.geofence is not None and (location is None or not inside(trigger.geofence, *location)):
        return None
    slot = candidate.onset_ns // interval_ns(trigger)
    if not _is_first_in_slot(candidate, slot, int(poll.append_ms[candidate.batch]), plan):
        return None
    held = zip(plan.named[candidate.trigger], candidate.moment.named, strict=True)
    conditions = tuple(name for name, truth in held if truth)
    return _firing(candidate, active, message, slot, location, conditions, known)


def _is_first_in_slot(candidate: _Candidate, slot: int, append_ms: int, plan: Plan) -> bool:
    """Notes that a trigger fired in a slot; whether it had not before, within the memory by the broker's clock."""
    fired = candidate.state.fired_slots(candidate.trigger)
    memory_ms = seconds_to_ms(plan.limits.memory_s())
    for old in [s for s, at_ms in fired.items() if at_ms < append_ms - memory_ms]:
        del fired[old]
    first = slot not in fired
    fired[slot] = append_ms
    return first


def _firing(
    candidate: _Candidate,
    active: Active,
    batch: telemetry_pb2.TelemetryBatch,
    slot: int,
    location: tuple[float, float] | None,
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
        location=location,
        model_digest=batch.model_digest,
        shadow_digest=batch.shadow_model_digest,
    )


def _delete_silent(state: DetectorState, plan: Plan) -> None:
    """Deletes vehicles that were silent for the horizon: nothing in their state has an effect any more.

    Runs at most four times per horizon, since it visits every vehicle.
    """
    horizon_ms = seconds_to_ms(plan.limits.horizon_s)
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

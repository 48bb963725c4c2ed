"""The running campaigns' triggers compiled to one program, and to which vehicles and when each applies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import asin, cos, radians, sin, sqrt

import numpy as np

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.lowering import lower
from fleetloop.triggerlang.machine import Machine, Rules
from fleetloop.triggerlang.program import Program, compile_program
from fleetloop.triggerlang.reading import Reader
from fleetloop.triggerlang.trigger import ALWAYS, Geofence, Trigger, check_trigger
from trigger_detector.model import CampaignRevision, Limits

_EARTH_RADIUS_M = 6_371_000.0


@dataclass(frozen=True, slots=True)
class Active:
    """A trigger in force from one event time to another."""

    campaign: str
    trigger: Trigger
    from_utc_ns: int
    until_utc_ns: int
    """0: no end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the core evaluates. ``program.triggers`` and ``actives`` have the same order."""

    actives: tuple[Active, ...]
    program: Program
    limits: Limits
    deepest_ns: int
    """How far before an instant a point can affect its value, in nanoseconds."""
    reader: Reader = field(compare=False, repr=False)
    machine: Machine = field(compare=False, repr=False)
    named: tuple[tuple[str, ...], ...] = ()
    """Per trigger, the names of its named conditions."""
    evidence: tuple[tuple[str, ...], ...] = ()
    """Per trigger, the signals whose values at the onset are reported."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A trigger that cannot be compiled; the others run."""

    campaign: str
    trigger: str
    message: str


def plan_of(
    campaigns: Sequence[tuple[CampaignRevision, int]], catalogue: SignalCatalogue, limits: Limits
) -> tuple[Plan, tuple[Problem, ...]]:
    """Like `make_plan`, but a campaign that fails to compile for any other reason is left out too."""
    try:
        return make_plan(campaigns, catalogue, limits)
    except Exception:
        compiled, problems = [], []
    for revision, replaced_utc_ns in campaigns:
        try:
            make_plan([(revision, replaced_utc_ns)], catalogue, limits)
        except Exception as error:
            problems += [Problem(revision.campaign, trigger.name, repr(error)) for trigger in revision.triggers]
        else:
            compiled.append((revision, replaced_utc_ns))
    plan, found = make_plan(compiled, catalogue, limits)
    return plan, (*problems, *found)


def make_plan(
    campaigns: Sequence[tuple[CampaignRevision, int]], catalogue: SignalCatalogue, limits: Limits
) -> tuple[Plan, tuple[Problem, ...]]:
    """Compiles the running campaigns' triggers, in a fixed order.

    Args:
        campaigns: Revisions, each with the event time (UTC ns) at which the next one replaces it; 0 for none.
        catalogue: The signals that triggers may read.
        limits: How long the detector remembers, which bounds windows.

    Returns:
        The plan, and the triggers that cannot be compiled and are left out.
    """
    actives: list[Active] = []
    problems: list[Problem] = []
    for revision, replaced_utc_ns in campaigns:
        for trigger in sorted(revision.triggers, key=lambda t: (t.name, t.version)) if revision.running else ():
            try:
                check_trigger(trigger, catalogue, limits.memory_s())
            except TriggerFileError as error:
                problems.append(Problem(revision.campaign, trigger.name, str(error)))
                continue
            begin = max(revision.in_force_from_utc_ns, trigger.from_utc_ns)
            ends = [ns for ns in (trigger.until_utc_ns, replaced_utc_ns) if ns]
            actives.append(Active(revision.campaign, trigger, begin, min(ends, default=0)))
    program = compile_program([a.trigger.condition() for a in actives], catalogue, limits.memory_s())
    lookback_ns = max((t.condition.lookback_ns for t in program.triggers), default=0)
    lowered = lower(program, catalogue)
    plan = Plan(
        tuple(actives),
        program,
        limits,
        lookback_ns + program.memory_ns,
        Reader(lowered, catalogue),
        Machine(lowered, _rules(actives, limits)),
        tuple(tuple(name for name, _ in t.named) for t in program.triggers),
        tuple(tuple(path for path, _ in t.evidence) for t in program.triggers),
    )
    return plan, tuple(problems)


def interval_ns(trigger: Trigger) -> int:
    """Length of the slots in which a trigger fires at most once."""
    return max(1, seconds_to_ns(trigger.min_interval_s))


def _rules(actives: Sequence[Active], limits: Limits) -> Rules:
    return Rules(
        always=np.array([a.trigger.mode == ALWAYS for a in actives], np.bool_),
        fenced=np.array([a.trigger.geofence is not None for a in actives], np.bool_),
        interval_ns=np.array([interval_ns(a.trigger) for a in actives], np.int64),
        from_ns=np.array([a.from_utc_ns for a in actives], np.int64),
        until_ns=np.array([a.until_utc_ns for a in actives], np.int64),
        memory_s=int(limits.memory_s()),
    )


def applies_to(trigger: Trigger, fleet_id: str, vehicle_id: str) -> bool:
    """Whether a vehicle is selected and in the trigger's sampled share of the fleet.

    The share is decided by a hash, so a vehicle stays in it when the share grows.
    """
    if trigger.vehicles and not any(fnmatchcase(vehicle_id, glob) for glob in trigger.vehicles):
        return False
    if trigger.sampling_fraction >= 1:
        return True
    digest = hashlib.sha256(f"{trigger.name}\0{fleet_id}\0{vehicle_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < trigger.sampling_fraction * 2**64


def inside(fence: Geofence, latitude_deg: float, longitude_deg: float) -> bool:
    """Whether a location lies within the circle, on a sphere (haversine formula)."""
    north, south = radians(latitude_deg), radians(fence.latitude_deg)
    half_north = sin((north - south) / 2) ** 2
    half_east = sin(radians(longitude_deg - fence.longitude_deg) / 2) ** 2
    # Rounding may give slightly more than 1 for points on opposite sides of the Earth.
    half_chord = min(1.0, sqrt(half_north + cos(north) * cos(south) * half_east))
    return 2 * _EARTH_RADIUS_M * asin(half_chord) <= fence.radius_m

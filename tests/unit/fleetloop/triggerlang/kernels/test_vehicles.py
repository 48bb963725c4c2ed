"""Runs over vehicles: details, memory between runs, room that grows, and one compiled version for all."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from tests.unit.fleetloop.triggerlang.evaluation import (
    NAN,
    SMALL,
    START_NS,
    STEP_NS,
    batch,
    flags,
    machine_of,
    numbers,
    read,
    run,
    tracks,
)

from fleetloop.domain.frames import Column
from fleetloop.triggerlang.kernels.scan import scan
from fleetloop.triggerlang.kernels.vehicles import run as run_vehicles
from fleetloop.triggerlang.kernels.warm import warm
from fleetloop.triggerlang.machine import Segment
from fleetloop.triggerlang.program import Condition

EVERYTHING = Condition(
    "c", "mean(X, 1 s) > 1 or any_track(T, max(Score, 1 s) > 5 and Seen) or debounce(F, 0.2 s)", {"high": "X > 4"},
    ("X", "F"),
)  # fmt: skip


def test_a_moment_reports_its_conditions_and_evidence() -> None:
    machine, reader = machine_of(EVERYTHING)
    columns = {"X": numbers(2, 6, NAN), "F": flags(False, True)}
    found = run(machine, read(reader, batch(columns))).moments
    assert [(m.onset_ns - START_NS) // STEP_NS for m in found] == [0, 1, 2]
    assert [m.named for m in found] == [(False,), (True,), (False,)]
    np.testing.assert_array_equal([m.evidence for m in found], [[2, 0], [6, 1], [NAN, 1]])


@pytest.mark.parametrize(
    "expression",
    [
        "max(X, 1.5 s) > 1.9 and X < 1",
        "max(Y, 1.5 s) > 1.2",
        "debounce(F, 1.2 s)",
        "count_tracks(T, max(Score, 1.5 s) > 8.5) > 0.5",
        "any_track(T, count(Seen, 1.5 s) > 5.5)",
        "any_track(T, lag(Kind, 0.3 s) > 6.5)",
    ],
)
def test_what_one_run_leaves_makes_the_next_the_same_as_one_over_all(expression: str) -> None:
    parts = []
    for number in range(3):
        lists = [{number: (6.0, True), 9: (float(i), i % 2 == 0)} for i in range(10)]
        own = np.sort(np.arange(8) * STEP_NS // 2)
        columns = {
            "X": Column(np.linspace(0, 2, 8).astype(np.float32), own), "Y": Column(np.arange(10) / 7),
            "F": flags(*[number > 0] * 10), **tracks(*lists),
        }  # fmt: skip
        columns["T.Kind"] = Column(columns["T.Score"].values.astype(np.int32), None, columns["T.Id"].splits)
        parts.append(batch(columns, number, START_NS + number * 10 * STEP_NS))
    machine, reader = machine_of(Condition("c", expression, {}, ("X", "Y", "F")))
    whole = run(machine, read(reader, *parts)).moments
    memory = b""
    found, without = list[object](), list[object]()
    for part in parts:
        outcome = run(machine, read(reader, part), memory)
        memory = outcome.memories[0]
        found += [(m.onset_ns, str(m.evidence)) for m in outcome.moments]
        without += [(m.onset_ns, str(m.evidence)) for m in run(machine, read(reader, part)).moments]
    assert found == [(m.onset_ns, str(m.evidence)) for m in whole]
    assert found != without


def test_each_trigger_reports_its_own_details() -> None:
    few, many = (
        Condition("a", "X > 1", {}, ("Y",)),
        Condition("b", "X > 4", {"odd": "Y > 2", "big": "X > 5"}, ("X", "F")),
    )
    machine, reader = machine_of(many, few, many)
    columns = {"X": numbers(2, 6), "Y": Column(np.array([1.0, 3.0])), "F": flags(True, False)}
    found = run(machine, read(reader, batch(columns))).moments
    assert [(m.trigger, m.named, m.evidence) for m in found] == [
        (0, (True, True), (6, 0)), (1, (), (1,)), (1, (), (3,)), (2, (True, True), (6, 0)),
    ]  # fmt: skip


def test_a_late_segment_sees_and_leaves_nothing() -> None:
    machine, reader = machine_of(Condition("c", "max(X, 10 s) > 4", {}))
    first, second = batch({"X": numbers(5, 5)}), batch({"X": numbers(0, 0)}, 1, START_NS + 10 * STEP_NS)
    memory = run(machine, read(reader, first)).memories[0]
    batches = read(reader, second)
    end_ns, none = int(batches.end_ns[0]), np.zeros(1, np.int64)
    assert len(machine.run(batches, none, [Segment(memory, [0], end_ns)]).moments) == 2
    late = machine.run(batches, none, [Segment(memory, [0], end_ns, late=True)])
    assert (late.moments, late.memories) == ((), (b"",))
    forgotten = machine.run(batches, none, [Segment(memory, [0], end_ns, forget_ns=START_NS + STEP_NS)])
    assert forgotten.moments == ()


def test_the_room_grows_to_what_a_vehicle_needs() -> None:
    machine, reader = machine_of(Condition("c", "X > 1", {"n": "X > 2"}, ("X",)))
    sent = batch({"X": Column(np.arange(1150, dtype=np.float32))})
    found = run(machine, read(reader, sent)).moments
    assert [m.evidence[0] for m in found] == list(range(2, 1150))
    assert run(machine, read(reader, sent)).moments == found


def test_of_points_at_one_instant_the_last_counts() -> None:
    machine, reader = machine_of(Condition("c", "X > 4 and any_track(T, Score > 4 and Seen)", {}))
    sent = batch({"X": numbers(0, 5, 5), **tracks({1: (0, True)}, {1: (5, True)}, {1: (5, False)})})
    offsets = np.array([0, 0, STEP_NS])
    together = sent.__class__(**{**{f: getattr(sent, f) for f in sent.__slots__}, "frame_offsets_ns": offsets})
    found = run(machine, read(reader, together)).moments
    assert [m.onset_ns for m in found] == [START_NS]


def test_programs_of_all_kinds_use_one_compiled_version() -> None:
    for condition in (Condition("c", "X > 1", {}), EVERYTHING, Condition("c", "any_track(T, Seen)", {})):
        machine, reader = machine_of(condition, catalogue=SMALL)
        run(machine, read(reader, batch({"X": numbers(5)})), b"")
    assert len(run_vehicles.signatures) == len(scan.signatures) == 1  # type: ignore[attr-defined]


def test_a_second_process_finds_the_compiled_code_in_the_cache() -> None:
    warm()
    code = (
        "from fleetloop.triggerlang.kernels import scan, vehicles, warm; warm.warm(); "
        "print([(sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values())) "
        "for f in (scan.scan, vehicles.run)])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[(1, 0), (1, 0)]"

"""A record that breaks the evaluation is found and skipped, and the others fire as if it had never been there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.trigger_detector.test_partition import CATALOGUE, PLAN, record

from fleetloop.kit.messaging.producer import Record
from trigger_detector import partition as partition_module
from trigger_detector.core import DetectorState, Poll, Step, evaluate_in_place
from trigger_detector.isolation import Isolation
from trigger_detector.partition import Partition, process_records
from trigger_detector.plan import Plan


def log_of(speeds: list[list[int]]) -> list[Record]:
    return [record(offset, *each) for offset, each in enumerate(speeds)]


@pytest.fixture
def broken_at(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Payloads on which the core raises, in the middle of its work."""
    payloads: set[bytes] = set()

    def evaluate(state: DetectorState, poll: Poll, plan: Plan) -> Step:
        step = evaluate_in_place(state, poll, plan)
        if payloads & set(poll.raws):
            state.vehicles.clear()  # the state is half changed
            raise KeyError("Id")
        return step

    monkeypatch.setattr(partition_module, "evaluate_in_place", evaluate)
    return payloads


def read(log: list[Record], cuts: list[int], resume: int) -> tuple[list[str], list[int]]:
    """What a stream does with a log in polls: firings, and the offsets that were set aside."""
    isolation, partition = Isolation(), Partition(resume)
    fired: list[str] = []
    dead: list[int] = []
    polls = list(_polls(log, cuts))
    for _ in range(4 * len(log) + 4):
        if partition.next_offset > log[-1].offset:
            return fired, dead
        records = next(r for r in polls if r[-1].offset >= partition.next_offset)
        records = [r for r in records if r.offset >= partition.next_offset]
        outcome, failure = isolation.evaluate(partition, records, PLAN, CATALOGUE)
        fired += [firing.firing_id for firing, _ in outcome.firings]
        if failure is not None:
            at_fault = isolation.note(failure)
            if at_fault is not None and at_fault.offset >= partition.resume_offset:
                dead.append(at_fault.offset)
            # The replay, from the log's beginning to what was handled.
            handled = partition.next_offset
            partition = Partition(max(handled, partition.resume_offset))
    raise AssertionError("the partition does not move on")


def _polls(log: list[Record], cuts: list[int]) -> Iterator[list[Record]]:
    edges = sorted({0, *[cut for cut in cuts if cut < len(log)], len(log)})
    for begin, end in pairwise(edges):
        yield log[begin:end]


SPEEDS = st.lists(st.lists(st.sampled_from([0, 60]), min_size=1, max_size=3), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(speeds=SPEEDS, data=st.data())
def test_the_others_fire_as_if_the_record_at_fault_had_never_been_there(
    broken_at: set[bytes], speeds: list[list[int]], data: Any
) -> None:
    log = log_of(speeds)
    offsets = st.integers(0, len(log) - 1)
    bad = data.draw(st.sets(offsets, max_size=3))
    cuts, resume = data.draw(st.lists(offsets, max_size=4)), data.draw(offsets)
    broken_at.clear()
    healthy = [r for r in log if r.offset not in bad]
    expected = process_records(Partition(resume), healthy, PLAN, CATALOGUE)
    broken_at |= {log[offset].value for offset in bad}
    fired, dead = read(log, cuts, resume)
    assert fired == [firing.firing_id for firing, _ in expected.firings]
    assert dead == sorted(offset for offset in bad if offset >= resume)


def test_an_outage_is_raised_and_blames_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*_: object) -> Step:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(partition_module, "evaluate_in_place", evaluate)
    with pytest.raises(OSError, match="no space"):
        Isolation().evaluate(Partition(0), log_of([[60]]), PLAN, CATALOGUE)


def test_what_no_replay_reads_again_is_forgotten() -> None:
    isolation = Isolation(skipped={1, 5, 9})
    isolation.forget_before(5)
    assert isolation.skipped == {5, 9}

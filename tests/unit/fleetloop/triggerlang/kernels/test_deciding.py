"""Where a trigger fires, given its truth values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from tests.unit.fleetloop.triggerlang.evaluation import machine_of

from fleetloop.triggerlang.kernels.arguments import Log, Rules
from fleetloop.triggerlang.kernels.deciding import all_false, batch_at, onsets
from fleetloop.triggerlang.program import Condition

S = 10**9
MACHINE, _ = machine_of(Condition("c", "X > 1", {}))


@dataclass
class Case:
    """One trigger over batches that start at these seconds and were appended at these."""

    starts_s: tuple[int, ...] = (0, 10)
    appended_s: tuple[int, ...] = (100, 110)
    always: bool = False
    fenced: bool = False
    interval_s: int = 1
    from_s: int = 0
    until_s: int = 0
    memory_s: int = 60
    last_false: tuple[int, int] = (-1, -1)

    def fires(self, truths: str, seconds: list[float]) -> list[float]:
        """The onsets in seconds; truth values are written f, u and t."""
        count = len(self.starts_s)
        none, nothing = np.zeros(0, np.int64), np.frombuffer(b"", np.uint8)
        starts = np.array(self.starts_s, np.int64) * S
        log = Log(
            nothing, np.zeros((count, 1, 4), np.int64), starts, starts, np.array(self.appended_s, np.int64) * 1000,
            starts, np.arange(count), np.array([0, count]), none, none, np.zeros(0, np.bool_), nothing, none, none,
        )  # fmt: skip
        rules = Rules(
            np.array([self.always]), np.array([self.fenced]), np.array([self.interval_s * S]),
            np.array([self.from_s * S]), np.array([self.until_s * S]), self.memory_s,
        )  # fmt: skip
        tables = MACHINE._tables
        tables.false_s[0], tables.false_append_s[0] = self.last_false
        codes = np.array(["fut".index(c) for c in truths], np.int8)
        times = np.array([round(s * S) for s in seconds], np.int64)
        found, batches = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
        number = onsets(0, codes, times, 0, count, log, rules, tables, found, batches)
        for onset, b in zip(found[:number], batches[:number], strict=True):
            assert b == batch_at(onset, 0, count, starts, np.arange(count))
        return [t / S for t in found[:number].tolist()]


def test_it_fires_where_false_turns_true_and_unknown_changes_nothing() -> None:
    assert Case().fires("ffuttft", [0, 1, 2, 3, 4, 5, 6]) == [3, 6]
    assert Case().fires("utt", [0, 1, 2]) == []
    assert Case(last_false=(0, 100)).fires("utt", [0, 1, 2]) == [1]


def test_always_fires_once_in_each_slot_and_a_fenced_trigger_everywhere() -> None:
    assert Case(always=True).fires("ttut", [0, 0.5, 1.2, 1.5]) == [0, 1.5]
    assert Case(always=True, fenced=True).fires("ttut", [0, 0.5, 1.2, 1.5]) == [0, 0.5, 1.5]


@pytest.mark.parametrize(
    ("case", "fires"),
    [
        (Case(last_false=(0, 100)), True),
        (Case(memory_s=4, last_false=(0, 100)), False),
        (Case(memory_s=4, last_false=(2, 100)), True),
        (Case(memory_s=4, last_false=(2, 95)), False),
        (Case(appended_s=(100, 161), starts_s=(0, 5), last_false=(0, 100)), False),
        (Case(from_s=6, last_false=(0, 100)), False),
        (Case(until_s=5, last_false=(0, 100)), False),
        (Case(until_s=6, last_false=(0, 100)), True),
    ],
)
def test_memory_and_times_in_force_decide_at_the_onset(case: Case, fires: bool) -> None:
    assert case.fires("t", [5]) == ([5] if fires else [])


def test_what_is_remembered_is_the_last_falsehood_since_it_was_true() -> None:
    case = Case()
    case.fires("tftf", [1, 2, 3, 11])
    assert (MACHINE._tables.false_s[0], MACHINE._tables.false_append_s[0]) == (11, 110)
    case.fires("tft", [1, 2, 3])
    assert (MACHINE._tables.false_s[0], MACHINE._tables.false_append_s[0]) == (-1, -1)


def test_all_false_is_not_unknown() -> None:
    assert all_false(np.zeros(3, np.int8))
    assert not all_false(np.array([0, 1], np.int8))
    assert not all_false(np.array([0, 2], np.int8))

"""A seed gives one schedule, and the table says what the episodes brought."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.chaos.findings import Fault, Finding
from tests.chaos.report import EpisodeResult, result_from, table
from tests.chaos.schedule import make_schedule

NAMES = st.lists(st.sampled_from(["kill", "stop", "cut", "fill", "shift"]), unique=True, min_size=1)


@settings(deadline=None)
@given(NAMES, st.integers(1, 4), st.integers(0, 2**31), st.integers(0, 5))
def test_the_same_seed_gives_the_same_schedule_whatever_the_order_of_names(
    names: list[str], runs: int, seed: int, mixed: int
) -> None:
    assert make_schedule(names, runs, seed, mixed) == make_schedule(names[::-1], runs, seed, mixed)


@settings(deadline=None)
@given(NAMES, st.integers(1, 4), st.integers(0, 2**31), st.integers(0, 5))
def test_each_nemesis_works_as_often_as_asked_and_mixed_episodes_come_last(
    names: list[str], runs: int, seed: int, mixed: int
) -> None:
    episodes = make_schedule(names, runs, seed, mixed)
    assert [each.number for each in episodes] == list(range(len(episodes)))
    assert Counter(each.name for each in episodes if len(each.acts) == 1) == dict.fromkeys(names, runs)
    together = [each for each in episodes if len(each.acts) > 1]
    assert len(together) == (mixed if len(names) > 1 else 0)
    assert episodes[len(episodes) - len(together) :] == together
    for each in together:
        assert len({act.nemesis for act in each.acts}) == len(each.acts)


def result(name: str, recovery_s: float | None, *findings: Finding, skipped: str = "") -> EpisodeResult:
    return EpisodeResult(name, 7, (name,), findings, recovery_s, 1.0, "history.jsonl", skipped)


def test_the_table_counts_faults_and_times_by_nemesis() -> None:
    lost, stuck = Finding("archive", Fault.LOST, "b1"), Finding("router", Fault.STUCK, "f1")
    rows = table(
        [
            result("mixed", 1.0),
            result("kill", 4.0, lost, lost),
            result("kill", 8.0, stuck),
            result("kill", None),
            result("cut", None, skipped="needs root"),
        ]
    ).splitlines()[2:]
    assert rows == [
        "| cut | 0 (needs root) | - | - | - | - | - | - |",
        "| kill | 3 | 2 | 0 | 0 | 1 | 6.0 | 8.0 (1 never) |",
        "| mixed | 1 | 0 | 0 | 0 | 0 | 1.0 | 1.0 |",
    ]


def test_a_result_survives_json() -> None:
    before = result("kill", 4.0, Finding("archive", Fault.LOST, "b1", "why"))
    assert result_from(json.loads(json.dumps(before.to_dict()))) == before

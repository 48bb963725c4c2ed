from __future__ import annotations

from dataclasses import replace

import pytest

from training_orchestrator.core import Situation, Start, due, start_again, wait_s
from training_orchestrator.model import DatasetVersion, Policy

POLICY = Policy("town", "town-test", "first.yaml", "turn.yaml", new_samples=100, attempts=2, retry_after_s=600)
TRAIN = DatasetVersion("town", "v2", 1200, "t", "v2", False)
TEST = DatasetVersion("town-test", "v1", 300, "t", "v1", True)
S = 10**9
NOW = Situation(TRAIN, TEST, 1000, 1000, 0, 0, False, False, "parent")
FAILED = replace(NOW, samples_at_last_run=1150, failures=1, last_ended_at_utc_ns=1000 * S)


def test_enough_new_samples_start_a_run_from_the_model_that_drives() -> None:
    start = due(POLICY, NOW, 0)
    assert isinstance(start, Start)
    assert (start.version.version, start.recipe, start.parent_digest) == ("v2", "turn.yaml", "parent")
    assert start.why == "200 new samples since the last candidate"


def test_the_first_run_starts_from_scratch() -> None:
    start = due(POLICY, replace(NOW, samples_at_last_candidate=0, samples_at_last_run=0, parent_digest=""), 0)
    assert isinstance(start, Start)
    assert (start.recipe, start.parent_digest) == ("first.yaml", "")


def test_when_no_first_model_ever_passed_the_next_run_starts_from_scratch_too() -> None:
    start = due(POLICY, replace(NOW, parent_digest=""), 0)
    assert isinstance(start, Start) and start.recipe == "first.yaml"


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        (replace(NOW, run_is_open=True), "a run is under way"),
        (replace(NOW, newest=None), "dataset town has no version yet"),
        (replace(NOW, test_set=None), "import it before the first run"),
        (replace(NOW, rollout_is_open=True), "a candidate is on its way"),
        (replace(NOW, samples_at_last_candidate=1101), "99 of 100 new samples"),
    ],
)
def test_why_no_run_is_due(situation: Situation, why: str) -> None:
    reason = due(POLICY, situation, 0)
    assert isinstance(reason, str) and why in reason


def test_a_run_without_a_candidate_uses_up_no_samples_and_is_tried_again_after_a_wait() -> None:
    reason = due(POLICY, FAILED, 1100 * S)
    assert reason == "1 runs without a candidate: again in 500 s, or after 50 more samples"
    start = due(POLICY, FAILED, 1600 * S)
    assert isinstance(start, Start)
    assert start.why == "200 new samples since the last candidate, 1 runs without a candidate before it"


def test_enough_samples_since_a_failure_end_the_wait() -> None:
    assert isinstance(due(POLICY, replace(FAILED, samples_at_last_run=1100), 1001 * S), Start)


def test_a_first_run_that_failed_waits_too() -> None:
    first = replace(FAILED, samples_at_last_candidate=0, parent_digest="")
    assert isinstance(due(POLICY, first, 1001 * S), str)
    start = due(POLICY, first, 1600 * S)
    assert isinstance(start, Start) and start.recipe == "first.yaml"


def test_each_failure_doubles_the_wait_up_to_a_bound() -> None:
    waits = [wait_s(failures, POLICY) for failures in range(1, 9)]
    assert waits == [600, 1200, 2400, 4800, 9600, 19_200, 19_200, 19_200]


def test_a_job_that_died_is_started_again_so_often() -> None:
    assert start_again(0, POLICY) and start_again(1, POLICY)
    assert not start_again(2, POLICY)

from __future__ import annotations

from dataclasses import replace

import pytest

from training_orchestrator.core import Situation, Start, due, start_again
from training_orchestrator.model import Policy, VersionSeen

POLICY = Policy("town", "town-test", "first.yaml", "turn.yaml", new_samples=100, attempts=2)
TRAIN = VersionSeen("town", "v2", 1200, "t", "v2", False)
TEST = VersionSeen("town-test", "v1", 300, "t", "v1", True)
NOW = Situation(TRAIN, TEST, 1000, False, False, "parent")


def test_enough_new_samples_start_a_run_from_the_model_that_drives() -> None:
    start = due(POLICY, NOW)
    assert isinstance(start, Start)
    assert (start.version.version, start.recipe, start.parent_digest) == ("v2", "turn.yaml", "parent")
    assert start.why == "200 new samples since the last run"


def test_the_first_run_starts_from_scratch() -> None:
    start = due(POLICY, replace(NOW, samples_at_last_run=0, parent_digest=""))
    assert isinstance(start, Start)
    assert (start.recipe, start.parent_digest) == ("first.yaml", "")


def test_when_no_first_model_ever_passed_the_next_run_starts_from_scratch_too() -> None:
    start = due(POLICY, replace(NOW, parent_digest=""))
    assert isinstance(start, Start) and start.recipe == "first.yaml"


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        (replace(NOW, run_is_open=True), "a run is under way"),
        (replace(NOW, newest=None), "dataset town has no version yet"),
        (replace(NOW, test_set=None), "import it before the first run"),
        (replace(NOW, rollout_is_open=True), "a candidate is on its way"),
        (replace(NOW, samples_at_last_run=1101), "99 of 100 new samples"),
    ],
)
def test_why_no_run_is_due(situation: Situation, why: str) -> None:
    reason = due(POLICY, situation)
    assert isinstance(reason, str) and why in reason


def test_a_job_that_died_is_started_again_so_often() -> None:
    assert start_again(0, POLICY) and start_again(1, POLICY)
    assert not start_again(2, POLICY)

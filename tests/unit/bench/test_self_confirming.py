"""The simulation of self-confirming labels plants the fault that it says it plants."""

from __future__ import annotations

import numpy as np
import pytest
from tests.bench.self_confirming import (
    CHECKS,
    Course,
    Desk,
    Situation,
    believing_any_halt,
    clip,
    growth_points,
    scene,
)

from fleetloop.domain.tasks import load_task_schema
from fleetloop.shipped import config_folder
from label_desk import hindsight
from label_desk.core import Audits
from label_desk.model import Vote

TASKS = load_task_schema(config_folder() / "tasks.yaml")
SURE = np.array([0.95, 0.97, 0.97])


def met(*, is_sign: bool = False, person: bool = False, mapped: bool = False, vehicle: str = "car") -> Situation:
    return Situation(vehicle, is_sign, scene(0.8, np.random.default_rng(1), 3), person, person, mapped)


def voted(situation: Situation) -> Vote | None:
    return hindsight.vote_by_clip(clip(situation, SURE, True), TASKS, "stop_sign", 4 * 10**9, 1)


def test_only_the_unguarded_hindsight_believes_a_halt_of_the_autopilot() -> None:
    invented = met()
    assert voted(invented) is None
    with believing_any_halt():
        vote = voted(invented)
    assert vote is not None and vote.answers["stop_sign"] != "none"
    assert voted(invented) is None, "the patch ends with the block"
    assert voted(met(person=True)) is not None
    assert voted(met(mapped=True)) is not None


def test_what_hindsight_cannot_answer_waits_for_people() -> None:
    desk = Desk(np.random.default_rng(1), guarded=True)
    assert desk.label(None, met(), people_left=0) == ""
    assert desk.label(None, met(), people_left=1) in ("none", "plain")
    assert desk.by == {"human": 1}


def test_people_find_a_vehicle_that_forges_its_clips() -> None:
    desk = Desk(np.random.default_rng(1), guarded=True)
    forged = met(person=True, vehicle="liar")
    labels = [desk.label(voted(forged), forged, people_left=10) for _ in range(400)]
    found = desk.of_vehicle["liar"]
    assert not Audits(sum(found), len(found)).may_decide(CHECKS.least_agreement)
    assert "none" in labels[-1:], "people label its moments from then on"
    assert len(desk.of_source) < 10, "and it does not stop hindsight for others"


def test_growth_is_the_mean_difference_of_last_and_first_turn_in_points() -> None:
    courses = [Course([0.1, 0.5, 0.2], [], []), Course([0.0, 0.0, 0.1], [], [])]
    assert growth_points(courses) == pytest.approx(10.0)

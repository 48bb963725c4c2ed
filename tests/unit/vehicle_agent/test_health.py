"""What a rollout is decided on is counted as its words say, whatever comes between."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from vehicle_agent.health import Answers, HealthWatch, decisions_of
from vehicle_agent.model import Assignment, Report

CONFIG = Path(__file__).parents[3] / "config"
DECISIONS = decisions_of(load_task_schema(CONFIG / "tasks.yaml"), load_catalogue(CONFIG / "signals.yaml"))
S = 10**9
GO: Answers = {"StopSign.IsSign": 0.1, "StopSign.Applies": 0.9, "TrafficLight.State": "none"}
STOP: Answers = {"StopSign.IsSign": 0.9, "StopSign.Applies": 0.9, "TrafficLight.State": "none"}


class Minute:
    """A watch and the two clocks of a drive at 2 Hz."""

    def __init__(self) -> None:
        self.watch = HealthWatch(DECISIONS, 0)
        self.now_ns = 0
        self.interventions = 0

    def drive(
        self,
        active: str,
        shadow: str = "",
        speed: float = 40.0,
        feature: str = "none",
        distance: float = 1000.0,
        intervene: bool = False,
    ) -> None:
        """One letter a frame: g no stop, s stop, x no answer."""
        says = {"g": GO, "s": STOP, "x": None}
        for number, letter in enumerate(active):
            self.interventions += intervene and number == 0
            self.watch.tick(self.now_ns, {"interventions": self.interventions, "distance_km": self.now_ns / S}, speed)
            other = says[shadow[number]] if shadow else None
            self.watch.frame(self.now_ns, says[letter], other, speed, feature, distance)
            self.now_ns += S // 2

    def report(self) -> Report:
        return self.watch.close(self.now_ns, Assignment("a", "b", "r", "shadow"), ("a", "b"))


def test_the_schema_says_what_the_car_stops_for() -> None:
    assert {decision.task: decision.stops for decision in DECISIONS} == {"stop_sign": True, "lead_vehicle": False}
    assert DECISIONS[0].holds(STOP) and not DECISIONS[0].holds(GO) and not DECISIONS[0].holds({})


@pytest.mark.parametrize(
    ("said", "flickers"), [("ggggg", 0), ("gssss", 0), ("gsgg", 1), ("gsgsg", 3), ("gsssssg", 0)]
)
def test_an_answer_that_comes_back_soon_flickers(said: str, flickers: int) -> None:
    minute = Minute()
    minute.drive(said)
    assert minute.report().flickers == flickers


def test_a_stop_that_only_the_silent_model_saw_before_an_intervention_would_have_prevented_it() -> None:
    minute = Minute()
    minute.drive("gggg", "ggss")
    minute.drive("g", "g", intervene=True)
    minute.drive("g" * 30, "g" * 30)
    minute.drive("g", "g", intervene=True)  # long after: no model predicted that one
    report = minute.report()
    assert (report.interventions, report.would_have_prevented, report.false_alarms) == (2, 1, 0)
    assert (report.shadow_frames, report.shadow_disagreements) == (36, 2)


def test_a_stop_that_both_saw_is_no_merit_of_the_silent_one() -> None:
    minute = Minute()
    minute.drive("gsss", "gsss")
    minute.drive("g", "g", intervene=True)
    assert minute.report().would_have_prevented == 0


def test_a_stop_that_the_driver_did_not_make_was_false() -> None:
    minute = Minute()
    minute.drive("gggggg", "gssgsg")
    minute.drive("g" * 20, "g" * 20)
    assert minute.report().false_alarms == 1


def test_a_stop_that_the_driver_made_was_not() -> None:
    minute = Minute()
    minute.drive("ggg", "gss")
    minute.drive("g" * 4, "g" * 4, speed=10.0)
    minute.drive("g" * 20, "g" * 20)
    assert minute.report().false_alarms == 0


def test_map_and_model_disagree_once_an_approach() -> None:
    minute = Minute()
    minute.drive("ggggg", feature="stop_sign", distance=12.0)
    minute.drive("ggg", feature="stop_sign", distance=2.0)
    minute.drive("sss", feature="stop_sign", distance=12.0)
    assert minute.report().map_disagreements == 1
    minute.drive("g" * 10)
    minute.drive("ssss")  # the model sees one, the map promises none
    minute.drive("gssg", speed=2.0)
    assert minute.report().map_disagreements == 1


def test_windows_follow_one_another_and_times_are_percentiles() -> None:
    minute = Minute()
    for milliseconds in range(1, 101):
        minute.watch.inferred(float(milliseconds))
    minute.drive("gg")
    minute.watch.fault("clip_gone", 2)
    first = minute.report()
    assert (first.inferences, round(first.inference_p50_ms), round(first.inference_p99_ms)) == (100, 50, 99)
    assert first.faults == {"clip_gone": 2}
    minute.drive("gg")
    second = minute.report()
    assert (second.sequence, second.start_utc_ns, second.inferences, second.faults) == (1, first.end_utc_ns, 0, {})
    assert first.distance_km + second.distance_km == pytest.approx(1.5)
    begun_ns = minute.now_ns - S // 2
    minute.watch.tick(begun_ns + 59 * S, {}, 0)
    assert not minute.watch.due(60 * S)
    minute.watch.tick(begun_ns + 60 * S, {}, 0)
    assert minute.watch.due(60 * S)


@pytest.mark.parametrize("step_s", [-7200, -1_000_000_000, 1024 * 7 * 86_400, 30])
def test_a_step_of_utc_moves_a_window_and_changes_neither_its_length_nor_what_it_counts(step_s: int) -> None:
    """A window that ended before it began, or lasted for years, would be refused with everything that it counts."""
    watch, start_ns = HealthWatch(DECISIONS, 1_790_000_000 * S), 1_790_000_000 * S
    for second in range(0, 61):
        watch.tick(second * S, {"interventions": 1, "distance_km": second / 60}, 40)
    assert watch.due(60 * S)
    first = watch.close(start_ns + (60 + step_s) * S, Assignment(), ("", ""))
    assert (first.end_utc_ns - first.start_utc_ns, first.interventions) == (60 * S, 1)
    assert first.end_utc_ns == start_ns + (60 + step_s) * S
    for second in range(61, 122):
        watch.tick(second * S, {"interventions": 3, "distance_km": second / 60}, 40)
    second_one = watch.close(start_ns + (121 + step_s) * S, Assignment(), ("", ""))
    assert second_one.start_utc_ns == first.end_utc_ns
    assert (second_one.end_utc_ns - second_one.start_utc_ns, second_one.interventions) == (61 * S, 2)

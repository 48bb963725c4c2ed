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
        self.interventions = self.overrides = 0
        self.engaged = True

    def drive(
        self,
        active: str,
        shadow: str = "",
        speed: float = 40.0,
        feature: str = "none",
        distance: float = 1000.0,
        intervene: bool = False,
        override: bool = False,
    ) -> None:
        """One letter a frame: g no stop, s stop, x no answer."""
        says = {"g": GO, "s": STOP, "x": None}
        for number, letter in enumerate(active):
            self.interventions += intervene and number == 0
            self.overrides += override and number == 0
            counters = {
                "interventions": self.interventions, "overrides": self.overrides, "distance_km": self.now_ns / S,
            }  # fmt: skip
            self.watch.tick(self.now_ns, counters, speed, engaged=self.engaged)
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


Counts = tuple[int, int, int, int, int]


def counts(report: Report) -> Counts:
    """(decisions, would have prevented, avoided, missed, false alarms)."""
    return (
        report.decisions, report.would_have_prevented, report.would_have_avoided, report.would_have_missed,
        report.false_alarms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("active", "shadow", "then", "counted"),
    [
        # The driver brakes: a stop was needed, and the model that drove did not make it.
        ("gg", "ss", "intervenes", (1, 1, 0, 0, 0)),
        ("ss", "ss", "intervenes", (1, 0, 0, 0, 0)),
        ("ss", "gg", "intervenes", (1, 0, 0, 1, 0)),
        ("gg", "gg", "intervenes", (1, 0, 0, 0, 0)),
        # The driver accelerates: the stop was not needed.
        ("ss", "gg", "overrides", (1, 0, 1, 0, 0)),
        ("ss", "ss", "overrides", (1, 0, 0, 0, 0)),
        # The driver lets the vehicle stop, or drive on.
        ("ss", "gg", "stops", (1, 0, 0, 1, 0)),
        ("ss", "ss", "stops", (1, 0, 0, 0, 0)),
        ("gg", "ss", "drives on", (1, 0, 0, 0, 1)),
        ("gg", "gg", "drives on", (0, 0, 0, 0, 0)),
        # It slows down although the model that drives wants no stop: for whatever reason, it says nothing about one.
        ("gg", "ss", "stops", (0, 0, 0, 0, 0)),
        # A person drives, and shows what was right.
        ("gg", "ss", "stops by hand", (1, 1, 0, 0, 0)),
        ("ss", "gg", "stops by hand", (1, 0, 0, 1, 0)),
        ("ss", "gg", "drives on by hand", (1, 0, 1, 0, 0)),
    ],
)
def test_a_request_for_a_stop_is_judged_by_what_the_driver_does(
    active: str, shadow: str, then: str, counted: Counts
) -> None:
    minute = Minute()
    minute.engaged = "by hand" not in then
    minute.drive("gg", "gg")
    minute.drive(active, shadow)
    minute.drive("g", "g", intervene=then == "intervenes", override=then == "overrides")
    minute.drive("g" * 20, "g" * 20, speed=10.0 if then.startswith("stops") else 40.0)
    assert counts(minute.report()) == counted


def test_one_approach_is_one_decision_however_often_the_models_change_their_minds() -> None:
    minute = Minute()
    minute.drive("ggggggg", "gsgsgsg")
    minute.drive("g" * 20, "g" * 20)
    assert counts(minute.report()) == (1, 0, 0, 0, 1)
    minute.drive("gggg", "ssss")
    minute.drive("g" * 20, "g" * 20)
    assert counts(minute.report()) == (1, 0, 0, 0, 1)


def test_a_mute_and_a_hallucinating_model_are_told_from_a_good_one() -> None:
    """Ten stops that the driver lets happen, and ten stretches without one."""
    wrong = {}
    for name, at_stop, elsewhere in (("good", "s", "g"), ("mute", "g", "g"), ("hallucinating", "s", "s")):
        minute = Minute()
        for _ in range(10):
            minute.drive("ssss", at_stop * 4)
            minute.drive("g" * 20, "g" * 20, speed=5.0)
            minute.drive("gggg", elsewhere * 4)
            minute.drive("g" * 20, "g" * 20)
        _, prevented, avoided, missed, false = counts(minute.report())
        assert (prevented, avoided) == (0, 0)
        wrong[name] = (missed, false)
    assert wrong == {"good": (0, 0), "mute": (10, 0), "hallucinating": (0, 10)}


def test_without_a_silent_model_nothing_is_judged() -> None:
    minute = Minute()
    minute.drive("gssg")
    minute.drive("g", intervene=True)
    minute.drive("g" * 20)
    report = minute.report()
    assert (report.interventions, report.decisions, report.shadow_frames) == (1, 0, 0)


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

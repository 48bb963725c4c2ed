from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fleetloop.domain.clips import Drive, DriveInfo, DriveSignal
from fleetloop.domain.tasks import load_task_schema
from label_desk.hindsight import vote_by_clip
from label_desk.model import Source

SCHEMA = load_task_schema(Path(__file__).parents[3] / "config" / "tasks.yaml")
S = 10**9
MOMENT_NS = 4 * S
TIMES = (np.arange(0, 10 * S, S // 2)).astype(np.int64)


def signal(values: list[float], dictionary: tuple[str, ...] = ()) -> DriveSignal:
    dtype = np.uint8 if dictionary else np.float32
    return DriveSignal(TIMES, np.array(values, dtype), None, dictionary)


def series(before: float, after: float, from_tick: int = 12) -> list[float]:
    return [before] * from_tick + [after] * (len(TIMES) - from_tick)


def clip(**changes: DriveSignal) -> Drive:
    signals = {
        "Perception.StopSign.IsSign": signal(series(0.1, 0.97)),
        "Perception.StopSign.Applies": signal(series(0.5, 0.95)),
        "Vehicle.Speed": signal(series(28.0, 1.0, from_tick=15)),
        "Perception.LeadVehicle.Present": signal(series(0.1, 0.1)),
        "Autopilot.Engaged": signal(series(1.0, 0.0, from_tick=13)),
        "Perception.TrafficLight.State": signal(series(0, 0), ("none", "red", "yellow", "green")),
    }
    names = {name.replace(".", "_"): name for name in signals}
    signals |= {names[key]: value for key, value in changes.items()}
    return Drive(DriveInfo("car", "drive"), signals, {})


def test_what_becomes_clear_and_made_the_car_halt_was_hidden_before() -> None:
    vote = vote_by_clip(clip(), SCHEMA, "stop_sign", MOMENT_NS, 7)
    assert vote is not None
    assert (vote.source, dict(vote.answers), vote.at_utc_ns) == (Source.HINDSIGHT, {"stop_sign": "occluded"}, 7)
    assert vote.confidence == pytest.approx(0.95, abs=1e-6)


def test_what_was_seen_at_the_moment_is_a_plain_one() -> None:
    seen = clip(
        Perception_StopSign_IsSign=signal(series(0.8, 0.97)), Perception_StopSign_Applies=signal(series(0.8, 0.95))
    )
    vote = vote_by_clip(seen, SCHEMA, "stop_sign", MOMENT_NS, 7)
    assert vote is not None and dict(vote.answers) == {"stop_sign": "plain"}


@pytest.mark.parametrize(
    "changes",
    [
        {"Perception_StopSign_IsSign": signal(series(0.1, 0.85))},
        {"Perception_StopSign_IsSign": signal([0.1] * 12 + [0.97] + [0.1] * 7)},
        {"Perception_StopSign_Applies": signal(series(0.5, 0.2))},
        {"Vehicle_Speed": signal(series(28.0, 20.0))},
        {"Vehicle_Speed": signal(series(6.0, 1.0))},
        {"Perception_LeadVehicle_Present": signal(series(0.9, 0.9))},
        {"Perception_TrafficLight_State": signal(series(1, 1), ("none", "red", "yellow", "green"))},
    ],
    ids=[
        "never clear",
        "clear once",
        "does not apply",
        "never halted",
        "was hardly driving",
        "behind a car",
        "red light",
    ],
)
def test_anything_less_is_left_to_people(changes: dict[str, DriveSignal]) -> None:
    assert vote_by_clip(clip(**changes), SCHEMA, "stop_sign", MOMENT_NS, 7) is None


def test_a_clip_without_the_models_answers_says_nothing() -> None:
    bare = Drive(DriveInfo("car", "drive"), {"Vehicle.Speed": signal(series(28.0, 1.0))}, {})
    assert vote_by_clip(bare, SCHEMA, "stop_sign", MOMENT_NS, 7) is None


def test_a_task_without_a_decision_cannot_be_answered() -> None:
    assert vote_by_clip(clip(), SCHEMA, "traffic_light", MOMENT_NS, 7) is None


def autopilot_clip(**more: DriveSignal) -> Drive:
    """The model invents a sign, and the autopilot halts for it."""
    return clip(Autopilot_Engaged=signal(series(1.0, 1.0)), **more)


def without(drive: Drive, name: str) -> Drive:
    return Drive(drive.info, {path: each for path, each in drive.signals.items() if path != name}, {})


def with_map(feature: float, distance_m: float) -> Drive:
    drive = autopilot_clip()
    promised = {
        "Map.Feature": signal(series(feature, feature), ("none", "stop_sign", "traffic_light")),
        "Map.FeatureDistance": signal(series(80.0, distance_m)),
    }
    return Drive(drive.info, {**drive.signals, **promised}, {})


def test_the_model_is_no_witness_for_itself() -> None:
    assert vote_by_clip(autopilot_clip(), SCHEMA, "stop_sign", MOMENT_NS, 7) is None


def test_who_drove_is_not_known_is_no_witness_either() -> None:
    assert vote_by_clip(without(clip(), "Autopilot.Engaged"), SCHEMA, "stop_sign", MOMENT_NS, 7) is None


def test_a_person_who_takes_over_at_the_halt_did_not_brake() -> None:
    late = clip(Autopilot_Engaged=signal(series(1.0, 0.0, from_tick=15)))
    assert vote_by_clip(late, SCHEMA, "stop_sign", MOMENT_NS, 7) is None
    back = clip(Autopilot_Engaged=signal([1.0] * 13 + [0.0] + [1.0] * (len(TIMES) - 14)))
    assert vote_by_clip(back, SCHEMA, "stop_sign", MOMENT_NS, 7) is None


def test_the_map_is_a_witness_where_the_car_halts() -> None:
    assert vote_by_clip(with_map(1, 6.0), SCHEMA, "stop_sign", MOMENT_NS, 7) is not None
    for feature, distance_m in ((0, 6.0), (2, 6.0), (1, 60.0)):
        assert vote_by_clip(with_map(feature, distance_m), SCHEMA, "stop_sign", MOMENT_NS, 7) is None

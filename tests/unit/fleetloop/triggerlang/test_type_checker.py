"""Every error in an expression is reported at its position, and units are converted correctly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fleetloop.triggerlang.evaluation import SHIPPED as CATALOGUE
from tests.unit.fleetloop.triggerlang.evaluation import truths

from fleetloop.domain.frames import Column
from fleetloop.triggerlang.errors import ExpressionError
from fleetloop.triggerlang.program import Condition, compile_program

MEMORY_S = 60.0


def codes(expression: str, **columns: Column) -> list[int]:
    """Truth values of a condition over one batch at 10 Hz; __ stands for a dot in a name."""
    return truths(expression, {name.replace("__", "."): column for name, column in columns.items()}, CATALOGUE)


FAULTS = [
    ("Vehicle.Sped > 3 km/h", 1, "did you mean `Vehicle.Speed`"),
    ("Vehicle.Speed > 30", 17, "give the number a unit, such as km/h"),
    ("Vehicle.Speed > 30 m", 17, "km/h and m cannot be combined"),
    ("Vehicle.Speed + Map.FeatureDistance > 3 m", 17, "cannot be combined"),
    ("mean(Vehicle.Speed, 61 s) > 3 km/h", 21, "more than the 60 s that are kept"),
    ("mean(mean(Vehicle.Speed, 40 s), 40 s) > 3 km/h", 1, "reach back 80 s"),
    ("mean(Vehicle.Speed, Map.SpeedLimit) > 3 km/h", 21, "must be a constant duration, such as `0.5 s`"),
    ("mean(Vehicle.Speed) > 3 km/h", 1, "the second is a duration"),
    ("mean(Vehicle.Speed, 3) > 3 km/h", 21, "must be a constant duration, such as `0.5 s`"),
    ("mean(Autopilot.Engaged, 1 s) > 1", 6, "expected a number, found a condition"),
    ("any(Vehicle.Speed, 1 s)", 5, "expected a condition, found a number"),
    ("any_track(Radar, Distance > 3 m)", 11, "is a track group: Perception.Tracks"),
    ("any_track(Radar.Object, Vehicle.Speed > 3 km/h)", 39, "reads no field"),
    ("Radar.Object.Distance > 3 m", 1, "use any_track(Radar.Object"),
    ("Radar.Object", 1, "it is a track group"),
    ("Vehicle.Speed", 1, "compare it"),
    ("1 < 2", 1, "reads no signal"),
    ("Vehicle.Speed > 3 km/h and", 27, "found the end"),
    ("Vehicle.Speed > 3 km/h or or", 27, "expected a signal"),
    ("(Vehicle.Speed > 3 km/h", 24, "expected ')'"),
    ("3 km/h < Vehicle.Speed < 5 km/h", 24, "cannot be chained"),
    ("Vehicle.Speed = 3 km/h", 15, "write `==`"),
    ('Map.Feature == "stopsign"', 16, 'use one of "none", "stop_sign"'),
    ("Map.Feature == 3", 1, "expected a number, found an enum"),
    ("Vehicle.Speed > 30 kmh", 20, "known units are m, "),
    ("Vehicle.Speed > 3 km/h ; 1", 24, "unexpected character"),
    ("sqrt(Vehicle.Speed) > 3", 1, "unknown function"),
    ("__import__('os')", 1, "unknown function"),
    ("Map.Version == Map.Version and exists(Map.Version", 50, "expected ')'"),
    ("not Vehicle.Speed", 5, "expected a condition"),
    ("exists(Vehicle.Speed, 1 s)", 1, "takes 1 argument"),
    ("last(abs(Vehicle.Speed), 1 s) > 1 m/s", 6, "one signal with one value per instant"),
    ("(" * 60 + "Vehicle.Speed > 1 km/h" + ")" * 60, 42, "nested deeper"),
]


@pytest.mark.parametrize(("expression", "column", "said"), FAULTS)
def test_an_error_is_reported_at_its_position(expression: str, column: int, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_program([Condition("t", expression, {})], CATALOGUE, MEMORY_S)
    assert said in caught.value.message
    assert caught.value.column == column
    assert str(caught.value).endswith("\n  " + " " * (column - 1) + "^")


@given(st.text(alphabet="AVehicl.Speed <>=()+-*/,0123456789skm\"' andornotmea\n", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_text_does_worse_than_an_error(text: str) -> None:
    try:
        compile_program([Condition("t", text, {})], CATALOGUE, MEMORY_S)
    except ExpressionError as error:
        assert "^" in str(error)


def speeds(*kmh: float) -> Column:
    return Column(np.array(kmh, np.float32))


def test_units_are_converted_on_constants_exactly() -> None:
    assert codes("Vehicle.Speed >= 30 km/h", Vehicle__Speed=speeds(29.9, 30, 31)) == [0, 2, 2]
    assert codes("Vehicle.Speed > 10 m/s", Vehicle__Speed=speeds(35.9, 36, 36.1)) == [0, 0, 2]
    assert codes("30 km/h < Vehicle.Speed", Vehicle__Speed=speeds(30, 31)) == [0, 2]
    assert codes("Vehicle.Speed * 2 s > 20 m", Vehicle__Speed=speeds(35, 37)) == [0, 2]
    assert codes("Vehicle.Speed > 0", Vehicle__Speed=speeds(0, 1)) == [0, 2]
    assert codes("-Vehicle.Speed < -5 km/h - 1 km/h", Vehicle__Speed=speeds(6, 7)) == [0, 2]


def test_unknown_is_neither_true_nor_false() -> None:
    lead = Column(np.array([np.nan, 4, np.nan, 9], np.float32))
    assert codes("Perception.LeadVehicle.Distance < 5 m", Perception__LeadVehicle__Distance=lead) == [1, 2, 1, 0]
    assert codes("not Perception.LeadVehicle.Distance < 5 m", Perception__LeadVehicle__Distance=lead) == [1, 0, 1, 2]
    assert codes("exists(Perception.LeadVehicle.Distance)", Perception__LeadVehicle__Distance=lead) == [0, 2, 0, 2]
    known = "last(Perception.LeadVehicle.Distance, 0.1 s) < 5 m"
    assert codes(known, Perception__LeadVehicle__Distance=lead) == [1, 2, 2, 0]
    both = "Perception.LeadVehicle.Distance < 5 m or Vehicle.Speed > 5 km/h"
    at = codes(both, Perception__LeadVehicle__Distance=lead, Vehicle__Speed=speeds(9, 1, 1, 1))
    assert at == [2, 2, 1, 0]


def test_windows_are_half_open_and_by_time() -> None:
    speed = speeds(9, 1, 1, 1, 1)
    assert codes("max(Vehicle.Speed, 0.3 s) > 5 km/h", Vehicle__Speed=speed) == [2, 2, 2, 0, 0]
    assert codes("lag(Vehicle.Speed, 0.3 s) > 5 km/h", Vehicle__Speed=speed) == [1, 1, 1, 2, 0]
    assert codes("delta(Vehicle.Speed, 0.1 s) < -5 km/h", Vehicle__Speed=speed) == [1, 2, 0, 0, 0]
    assert codes("debounce(Vehicle.Speed < 5 km/h, 0.2 s)", Vehicle__Speed=speed) == [0, 0, 0, 2, 2]
    assert codes("count(Vehicle.Speed < 5 km/h, 0.2 s) == 2", Vehicle__Speed=speed) == [0, 0, 2, 2, 2]
    slope = codes("slope(Vehicle.Speed, 0.4 s) < -5 m/s^2", Vehicle__Speed=speeds(90, 80, 70, 60, 60, 60, 60))
    assert slope == [1, 1, 2, 2, 2, 2, 0]


def test_a_track_that_flickers_is_found_among_others() -> None:
    scores = np.array([[0.9, 0.2], [0.9, 0.2], [0.4, 0.2], [0.9, 0.3], [0.9, 0.9]], np.float32)
    splits = np.arange(0, 11, 2, dtype=np.uint32)
    tracks = {
        "Perception__Tracks__Id": Column(np.tile(np.array([7, 8], np.int64), 5), splits=splits),
        "Perception__Tracks__Class": Column(np.tile(np.array([5, 1], np.uint8), 5), splits=splits),
        "Perception__Tracks__Score": Column(scores.ravel(), splits=splits),
    }
    sign = 'any_track(Perception.Tracks, Class == "stop_sign" and excursion(Score, 1 s) > 0.4)'
    assert codes(sign, **tracks) == [0, 0, 0, 2, 2]
    assert codes(sign.replace("stop_sign", "car"), **tracks) == [0, 0, 0, 0, 0]
    assert codes("count_tracks(Perception.Tracks, Score > 0.5) > 1", **tracks) == [0, 0, 0, 0, 2]

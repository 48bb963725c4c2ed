"""Drives through the town: the same for the same seeds, on routes that no model can change, with the right events."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.worlds.town.fleet import TownFleet
from fleetloop.worlds.world import Sensed

SCHEMA = load_task_schema(Path("config/tasks.yaml"))
CATALOGUE = load_catalogue(Path("config/signals.yaml"))
NEVER: Mapping[str, float] = {"StopSign.IsSign": 0.0, "StopSign.Applies": 0.0}
ALWAYS: Mapping[str, float] = {"StopSign.IsSign": 1.0, "StopSign.Applies": 1.0}


def drive(fleet: TownFleet, ticks: int, perceived: Mapping[str, float] | None) -> list[list[str]]:
    """Streets of each vehicle in order."""
    streets: list[list[str]] = [[] for _ in fleet.vehicles]
    for _ in range(ticks):
        for seen, vehicle in zip(streets, fleet.vehicles, strict=True):
            if not seen or seen[-1] != vehicle.street.place:
                seen.append(vehicle.street.place)
        fleet.act_all([perceived] * len(fleet.vehicles))
    return streets


def correct_outputs(fleet: TownFleet) -> list[Mapping[str, float]]:
    """Return the outputs of a model that makes no mistake."""
    told = [vehicle.truth for vehicle in fleet.vehicles]
    return [
        {
            "StopSign.IsSign": float(truth.answers.get("stop_sign") in ("plain", "occluded", "held", "placard")),
            "StopSign.Applies": float(truth.must_stop),
        }
        for truth in told
    ]


def test_the_same_seeds_make_the_same_drive() -> None:
    def some(seed: int) -> list[Sensed]:
        fleet = TownFleet(SCHEMA, 2, seed, 7)
        seen = []
        for _ in range(12):
            seen += fleet.sense_all()
            fleet.act_all([None, None])
        return seen

    for one, other in zip(some(1), some(1), strict=True):
        assert one.monotonic_ns == other.monotonic_ns and one.signals.keys() == other.signals.keys()
        for path in one.signals:
            np.testing.assert_array_equal(one.signals[path], other.signals[path])
        np.testing.assert_array_equal(one.cameras is None, other.cameras is None)
        if one.cameras is not None and other.cameras is not None:
            np.testing.assert_array_equal(one.cameras, other.cameras)
    assert [s.signals["Vehicle.CurrentLocation.Latitude"] for s in some(1)] != [
        s.signals["Vehicle.CurrentLocation.Latitude"] for s in some(2)
    ]


def test_a_vehicle_is_the_same_whichever_process_it_drives_in() -> None:
    together, single = TownFleet(SCHEMA, 3, 1, 7), TownFleet(SCHEMA, 1, 1, 7, first=2)
    one, other = together.sense_all()[2], single.sense_all()[0]
    assert together.vehicles[2].vehicle_id == single.vehicles[0].vehicle_id
    assert one.cameras is not None
    np.testing.assert_array_equal(one.cameras, other.cameras)


def test_no_model_changes_a_route() -> None:
    routes = [drive(TownFleet(SCHEMA, 6, 3, 9), 2500, perceived) for perceived in (NEVER, ALWAYS)]
    for one, other in zip(*routes, strict=True):
        shorter = min(len(one), len(other))
        assert shorter >= 5
        assert one[:shorter] == other[:shorter]


def test_every_signal_is_in_the_catalogue_and_its_range() -> None:
    fleet = TownFleet(SCHEMA, 4, 1, 7)
    for _ in range(300):
        for sensed in fleet.sense_all() if fleet.vehicles[0].ticks % 7 == 0 else []:
            for path, value in sensed.signals.items():
                signal = CATALOGUE[path]
                assert signal.ragged == isinstance(value, np.ndarray), path
                if signal.values:
                    assert value in signal.values, path
                elif not isinstance(value, (bool, str)):
                    low, high = signal.minimum, signal.maximum
                    assert np.all((low <= np.asarray(value)) & (np.asarray(value) <= high)), (path, value)
        fleet.act_all([NEVER] * 4)


def test_pictures_come_twice_a_second_and_truth_is_no_signal() -> None:
    fleet = TownFleet(SCHEMA, 1, 1, 7)
    pictures = []
    for _ in range(20):
        sensed = fleet.sense_all()[0]
        pictures.append(sensed.cameras is not None)
        assert not any("truth" in path.lower() or "slice" in path.lower() for path in sensed.signals)
        fleet.act_all([None])
    assert pictures == [True, False, False, False, False] * 4


@pytest.mark.parametrize(("perceived", "event"), [(NEVER, "interventions"), (ALWAYS, "overrides")])
def test_a_blind_or_a_frightened_model_is_taken_over_from(perceived: Mapping[str, float], event: str) -> None:
    fleet = TownFleet(SCHEMA, 8, 3, 9)
    drive(fleet, 3000, perceived)
    assert sum(vehicle.counters()[event] for vehicle in fleet.vehicles) > 10


def test_a_model_without_faults_is_left_alone() -> None:
    fleet = TownFleet(SCHEMA, 8, 3, 9)
    for _ in range(3000):
        fleet.act_all(correct_outputs(fleet))
    counters = [vehicle.counters() for vehicle in fleet.vehicles]
    assert sum(c["interventions"] + c["overrides"] for c in counters) <= 2
    assert 0.5 < sum(c["autopilot_km"] for c in counters) / sum(c["distance_km"] for c in counters) < 0.95

"""A model that drives worse on the same roads is refused."""

from __future__ import annotations

import numpy as np

from perception.examination.closed_loop import Event, Road, examine_drives

ERROR = 0.01


def road(stretches: int, **shares: float) -> Road:
    """The first stretches have events, by share."""
    return Road(
        {
            (number % 4, number): frozenset(
                Event[name.upper()] for name, share in shares.items() if number < share * stretches
            )
            for number in range(stretches)
        },
        1.0,
    )


def test_more_events_of_any_kind_refuse_a_model() -> None:
    said_of = {
        "missed_stop": "missed stops",
        "needless_stop": "takeovers",
        "harsh_braking": "takeovers or harsh braking",
    }
    for name, said in said_of.items():
        verdict = examine_drives(road(200), road(200, **{name: 0.1}), ERROR)
        assert not verdict.passed and f"More {said} on the same roads: in 0 to 20" in " ".join(verdict.reasons)
        assert examine_drives(road(200, **{name: 0.1}), road(200), ERROR).passed
        assert examine_drives(road(200, **{name: 0.1}), road(200, **{name: 0.1}), ERROR).passed


def test_something_less_bad_in_the_same_stretch_is_no_loss() -> None:
    """A model that brakes harshly where the other ran the stop brakes more often, and drives better."""
    missed, needless, harsh = (road(200, **{name: 0.1}) for name in ("missed_stop", "needless_stop", "harsh_braking"))
    assert examine_drives(missed, needless, ERROR).passed and examine_drives(needless, harsh, ERROR).passed
    assert not examine_drives(needless, missed, ERROR).passed and not examine_drives(harsh, needless, ERROR).passed


def test_missed_and_needless_stops_count_together() -> None:
    both = {where: frozenset[Event]() for where in road(200).events}
    for number, where in enumerate(list(both)[:12]):
        both[where] = frozenset({Event.MISSED_STOP if number % 2 else Event.NEEDLESS_STOP})
    verdict = examine_drives(road(200), Road(both, 1.0), ERROR)
    assert "More missed stops" not in " ".join(verdict.reasons)
    assert verdict.reasons[0].startswith("More takeovers")


def test_a_model_whose_vehicles_stand_still_is_refused_although_nothing_happens_to_them() -> None:
    whole = Road({(vehicle, stretch): frozenset() for vehicle in range(20) for stretch in range(10)}, 10.0)
    stuck = Road({where: events for where, events in whole.events.items() if where[1] < 5}, 5.0)
    verdict = examine_drives(whole, stuck, ERROR)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("20 of 20 vehicles fall behind on the same roads")
    assert examine_drives(stuck, whole, ERROR).passed
    few = Road({where: events for where, events in whole.events.items() if where[0] > 3 or where[1] < 5}, 9.0)
    assert examine_drives(whole, few, ERROR).passed, "four of twenty may be chance"


def test_only_roads_that_both_drove_are_compared() -> None:
    far, near = road(200), Road({where: frozenset({Event.MISSED_STOP}) for where in list(road(40).events)[:5]}, 0.1)
    verdict = examine_drives(far, near, ERROR)
    assert not verdict.passed and verdict.reasons == ["Nothing to examine: 5 stretches of road cannot show any loss."]
    assert not examine_drives(far, Road({}, 0.0), ERROR).passed


def test_equal_models_are_seldom_told_apart() -> None:
    rng, refused = np.random.default_rng(4), 0
    for _ in range(300):
        one, two = (
            Road({(0, n): frozenset(event for event in Event if rng.random() < 0.15) for n in range(200)}, 1.0)
            for _ in range(2)
        )
        refused += not examine_drives(one, two, 0.05).passed
    assert refused <= 18

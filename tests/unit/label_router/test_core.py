from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.process.settings import SettingsError
from label_router.core import ask_again, cell_of, route_of, triage
from label_router.model import Check, Drop, Dropped, DropRule, Firing, Known, Route, Routing, Wanted
from label_router.settings import load_routing

ROUTE = Route("signs", ["map_*", "flicker"], "town", "", ["human"], 2, 0)
OTHER = Route("lights", ["*"], "town", "traffic_light", ["human"], 1, 0)
ROUTING = Routing(
    routes=[ROUTE, OTHER],
    drops=[DropRule(Drop.BORING, "hardly moving", ["flicker"], [Check("Vehicle.Speed", below=3)])],
    cell_m=25,
    per_cell=2,
    cell_window_s=3600,
    clip_expires_s=100,
    repeat_s=10,
)
FIRING = Firing(
    "f", "car", "map_disagreement", "stop_sign", "", "m", 0, frozenset(), {"Vehicle.Speed": 30}, 47, -122, 0
)
NOTHING = Known(0, 0)


def test_a_firing_goes_to_the_first_route_that_takes_its_trigger() -> None:
    assert triage(FIRING, ROUTING, NOTHING) == Wanted(ROUTE, "stop_sign")
    assert triage(replace(FIRING, trigger="red_light"), ROUTING, NOTHING) == Wanted(OTHER, "traffic_light")


def test_the_authors_hint_goes_first_if_that_project_takes_the_trigger() -> None:
    assert route_of(replace(FIRING, project_hint="lights"), ROUTING) is OTHER
    assert route_of(replace(FIRING, project_hint="nowhere"), ROUTING) is ROUTE


def test_a_boring_firing_is_dropped_with_the_reason() -> None:
    slow = replace(FIRING, trigger="flicker", evidence={"Vehicle.Speed": 2.0})
    assert triage(slow, ROUTING, NOTHING) == Dropped(Drop.BORING, "hardly moving")


@pytest.mark.parametrize("evidence", [{}, {"Vehicle.Speed": math.nan}, {"Vehicle.Speed": 3.0}])
def test_missing_evidence_drops_nothing(evidence: dict[str, float]) -> None:
    assert isinstance(triage(replace(FIRING, trigger="flicker", evidence=evidence), ROUTING, NOTHING), Wanted)


def test_enough_of_a_place_is_enough() -> None:
    assert isinstance(triage(FIRING, ROUTING, Known(1, 0)), Wanted)
    dropped = triage(FIRING, ROUTING, Known(2, 0))
    assert isinstance(dropped, Dropped) and dropped.reason is Drop.DUPLICATE_PLACE


def test_a_vehicle_over_its_budget_sends_no_more() -> None:
    limited = replace(FIRING, bytes_per_vehicle_day=1000)
    assert isinstance(triage(limited, ROUTING, Known(0, 999)), Wanted)
    dropped = triage(limited, ROUTING, Known(0, 1000))
    assert isinstance(dropped, Dropped) and dropped.reason is Drop.OVER_BUDGET
    assert isinstance(triage(limited, ROUTING, Known(0, 400, clips_on_their_way=1, clip_bytes=300)), Wanted)
    asked = triage(limited, ROUTING, Known(0, 400, clips_on_their_way=2, clip_bytes=300))
    assert isinstance(asked, Dropped) and asked.reason is Drop.OVER_BUDGET
    unknown = triage(limited, ROUTING, Known(0, 0, clips_on_their_way=1))
    assert isinstance(unknown, Dropped) and "its size is not known yet" in unknown.detail
    assert isinstance(triage(FIRING, ROUTING, Known(0, 0, clips_on_their_way=9)), Wanted)


def test_without_a_route_or_a_task_the_reason_says_what_to_edit() -> None:
    nowhere = triage(FIRING, replace(ROUTING, routes=[]), NOTHING)
    assert isinstance(nowhere, Dropped) and "config/routing.yaml has no route" in nowhere.detail
    no_task = triage(replace(FIRING, task=""), ROUTING, NOTHING)
    assert isinstance(no_task, Dropped) and "names a task" in no_task.detail


@given(st.floats(-70, 70), st.floats(-179, 179), st.floats(-180, 180))
def test_cells_are_about_as_wide_as_they_say_anywhere(lat: float, lon: float, bearing: float) -> None:
    metres = 111_320.0
    here = replace(FIRING, latitude_deg=lat, longitude_deg=lon)
    far = replace(
        FIRING,
        latitude_deg=lat + 40 * math.cos(math.radians(bearing)) / metres,
        longitude_deg=lon + 40 * math.sin(math.radians(bearing)) / (metres * math.cos(math.radians(lat))),
    )
    assert cell_of(here, 25) == cell_of(here, 25)
    assert cell_of(here, 25) != cell_of(far, 25)  # 40 m is more than the diagonal of 25 m


def test_without_a_place_a_vehicle_is_its_own_cell() -> None:
    nowhere = replace(FIRING, latitude_deg=None)
    assert cell_of(nowhere, 25) != cell_of(replace(nowhere, vehicle_id="other"), 25)


def test_a_clip_is_asked_for_again_after_doubling_waits_and_never_past_its_expiry() -> None:
    S = 10**9
    assert not ask_again(0, 0, 100 * S, 10, 9 * S)
    assert ask_again(0, 0, 100 * S, 10, 10 * S)
    assert not ask_again(1, 10 * S, 100 * S, 10, 29 * S)
    assert ask_again(1, 10 * S, 100 * S, 10, 30 * S)
    assert not ask_again(0, 0, 100 * S, 10, 100 * S)


def test_the_shipped_rules_are_read_and_wrong_ones_name_the_field(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "config" / "routing.yaml"
    assert load_routing(shipped).routes[0].project == "stop-signs"
    wrong = tmp_path / "routing.yaml"
    wrong.write_text(shipped.read_text().replace("agreement: 2", "agreement: 0"))
    with pytest.raises(SettingsError, match=r"projects.stop-signs.agreement: Input should be greater"):
        load_routing(wrong)


@pytest.mark.parametrize(
    ("value", "dropped"), [(2.9, False), (3.0, False), (3.1, True), (7.9, True), (8.0, False), (8.1, False)]
)
def test_a_check_holds_between_its_bounds_and_not_at_them(value: float, dropped: bool) -> None:
    check = Check("Vehicle.Speed", below=8, above=3)
    routing = replace(ROUTING, drops=[DropRule(Drop.BORING, "slow", ["*"], [check])])
    decided = triage(replace(FIRING, evidence={"Vehicle.Speed": value}), routing, NOTHING)
    assert isinstance(decided, Dropped) is dropped


@pytest.mark.parametrize("wrong", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("coordinate", ["latitude_deg", "longitude_deg"])
def test_a_position_with_one_coordinate_that_is_not_a_number_is_unknown(coordinate: str, wrong: float | None) -> None:
    assert cell_of(replace(FIRING, **{coordinate: wrong}), 25) == "vehicle:car"  # type: ignore[arg-type]


def cells_along(latitude_deg: float, step_m: float, steps: int) -> set[str]:
    """The cells of positions along a parallel, `step_m` apart."""
    step_deg = step_m / (111_320.0 * math.cos(math.radians(latitude_deg)))
    positions = [replace(FIRING, latitude_deg=latitude_deg, longitude_deg=step * step_deg) for step in range(steps)]
    return {cell_of(position, 25) for position in positions}


@pytest.mark.parametrize("latitude_deg", [0.0, 47.0, -47.0, 70.0])
def test_a_kilometre_along_a_parallel_crosses_forty_cells_of_25_metres(latitude_deg: float) -> None:
    assert len(cells_along(latitude_deg, 1.0, 1000)) == pytest.approx(40, abs=1)

"""The surroundings of a vehicle at one moment, and the answers of a careful person who sees the pictures.

Why it exists: drives and the labelled scenes of a dataset must have the same pictures and the same answers, so that
both are computed here. The truth is never sent with the signals; it is for simulated labellers and evaluations.
"""

import numpy as np

from fleetloop.domain.tasks import HeadValue
from fleetloop.worlds.town import shapes as s
from fleetloop.worlds.town.approach import SIGN_LOST_M, SIGN_SEEN_M, UNSURE_M, Approach, lamps
from fleetloop.worlds.town.render import View
from fleetloop.worlds.town.streets import Street
from fleetloop.worlds.world import FrameTruth

LEAD_SEEN_M = 28.0
"""Largest distance at which a vehicle ahead is answered as present."""
_NEIGHBOUR_SEEN_M = 40.0
"""Distance from a junction at which the street beyond it comes into view."""
_LIGHT_CYCLE_S = (("green", 12.0), ("yellow", 2.5), ("red", 9.0))


def light_state(approach: Approach, time_s: float) -> str | None:
    """Return red, yellow or green; None where there is no traffic light."""
    if approach.light_phase_s is None:
        return None
    within = (time_s + approach.light_phase_s) % sum(length for _, length in _LIGHT_CYCLE_S)
    for state, length in _LIGHT_CYCLE_S:
        if within < length:
            return state
        within -= length
    return "red"


def lead_distance_m(approach: Approach, along_m: float) -> float | None:
    """Return the distance to the vehicle ahead; None when there is none within the radar's range of 60 m."""
    if approach.traffic is None:
        return None
    distance = approach.traffic.distance_m(along_m, approach.length_m)
    return distance if distance < 60 else None


def view(
    street: Street,
    behind: Street | None,
    ahead: Street | None,
    *,
    along_m: float,
    left_m: float,
    time_s: float,
    light: float,
    noise_seed: int,
) -> View:
    """Return everything that the cameras can see from a position along the street."""
    approach = street.approach
    parts = [approach.shapes]
    state = light_state(approach, time_s)
    if state is not None:
        parts.append(lamps(approach, state))
    distance = lead_distance_m(approach, along_m)
    if approach.traffic is not None and distance is not None:
        parts.append(s.moved(approach.traffic.shapes, along_m + distance))
    if behind is not None and along_m < _NEIGHBOUR_SEEN_M:
        parts.append(s.moved(behind.approach.shapes, -behind.approach.length_m - 6.0))
    if ahead is not None and along_m > approach.length_m - _NEIGHBOUR_SEEN_M:
        parts.append(s.moved(ahead.approach.shapes, approach.length_m + 6.0))
    return View(
        shapes=np.concatenate(parts),
        along_m=along_m,
        left_m=left_m,
        crossings_m=(-4.0, approach.length_m + 5.0),
        light=light,
        ground=approach.ground,
        noise_seed=noise_seed,
    )


def truth(street: Street, *, along_m: float, time_s: float, night: bool) -> FrameTruth:
    """Return the answers of a careful person who sees the frames up to this moment."""
    approach = street.approach
    heads: dict[str, dict[str, HeadValue]] = {}
    choices: dict[str, str] = {}
    sign = approach.sign
    lead = lead_distance_m(approach, along_m)
    ahead: float | None = None
    if approach.traffic is not None and approach.traffic.carries_picture:
        ahead = lead
    elif sign.choice != "none":
        ahead = approach.sign_m - along_m
        ahead = ahead if ahead > 0 else None
    in_sight = ahead is not None and SIGN_LOST_M <= ahead <= SIGN_SEEN_M
    unsure = ahead is not None and not in_sight and ahead <= UNSURE_M
    if in_sight:
        attributes: list[str] = [sign.attribute] if sign.attribute else []
        heads["stop_sign"] = {"is_sign": int(sign.is_sign), "attributes": attributes}
        if sign.is_sign:
            heads["stop_sign"]["applies"] = int(sign.applies)
        choices["stop_sign"] = sign.choice
    elif not unsure:
        heads["stop_sign"] = {"is_sign": 0, "attributes": []}
        choices["stop_sign"] = "none"
    if lead is None or lead > LEAD_SEEN_M + 8:
        heads["lead_vehicle"], choices["lead_vehicle"] = {"present": 0}, "none"
    elif lead < LEAD_SEEN_M:
        heads["lead_vehicle"] = {"present": 1, "distance": round(lead, 2)}
        choices["lead_vehicle"] = "present"
    state = light_state(approach, time_s)
    light_ahead = approach.sign_m - along_m
    if state is None or light_ahead < 2 or light_ahead > UNSURE_M:
        choices["traffic_light"] = "none"
    elif SIGN_LOST_M <= light_ahead <= SIGN_SEEN_M:
        choices["traffic_light"] = state
    if "traffic_light" in choices:
        heads["traffic_light"] = {"state": choices["traffic_light"]}
    light_seen = choices.get("traffic_light", "none") != "none"
    kind = approach.kind if in_sight or light_seen else "none"
    return FrameTruth(
        place=street.place,
        slice=f"night_{kind}" if night else kind,
        night=night,
        answers=choices,
        heads=heads,
        must_stop=in_sight and sign.must_stop,
        sign_ahead_m=ahead,
    )

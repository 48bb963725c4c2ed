"""Pure decisions of the router: triage of a firing, its cell, and when to request its clip again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

from fleetloop.kit.process.clock import seconds_to_ns
from label_router.model import Check, Drop, Dropped, Firing, Known, Route, Routing, Wanted

_METRES_PER_DEGREE = 111_320.0
MOST_DOUBLINGS = 10


def triage(firing: Firing, routing: Routing, known: Known) -> Wanted | Dropped:
    """Decide on a firing: it is dropped by a rule, without a route, for its cell or its budget, in this order."""
    for rule in routing.drops:
        if _matches(firing.trigger, rule.triggers) and all(_holds(check, firing) for check in rule.checks):
            return Dropped(rule.reason, rule.detail)
    route = route_of(firing, routing)
    if route is None:
        return Dropped(Drop.NO_ROUTE, f"config/routing.yaml has no route for the trigger {firing.trigger}")
    task = route.task or firing.task
    if not task:
        return Dropped(Drop.NO_ROUTE, f"neither the route {route.project} nor the trigger names a task")
    if known.in_cell >= routing.per_cell:
        detail = f"{known.in_cell} of at most {routing.per_cell} firings of this cell and model are routed"
        return Dropped(Drop.DUPLICATE_PLACE, detail)
    limit = firing.bytes_per_vehicle_day
    if limit and known.clips_on_their_way and not known.clip_bytes:
        return Dropped(Drop.OVER_BUDGET, "a clip is on its way, and its size is not known yet")
    asked = known.vehicle_bytes_today + known.clips_on_their_way * known.clip_bytes
    if limit and asked >= limit:
        return Dropped(Drop.OVER_BUDGET, f"{asked} of {limit} bytes per day were sent or are requested")
    return Wanted(route, task)


def route_of(firing: Firing, routing: Routing) -> Route | None:
    """The route of the trigger's project hint if it matches the trigger; else the first that matches."""
    matching = [route for route in routing.routes if _matches(firing.trigger, route.triggers)]
    hinted = [route for route in matching if route.project == firing.project_hint]
    return next(iter(hinted or matching), None)


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _holds(check: Check, firing: Firing) -> bool:
    value = firing.evidence.get(check.signal)
    if value is None or math.isnan(value):
        return False
    return (check.below is None or value < check.below) and (check.above is None or value > check.above)


def cell_of(firing: Firing, cell_m: float) -> str:
    """The square cell of a firing's position; the vehicle itself when the position is not known.

    Cells are about `cell_m` on a side everywhere: columns are counted in the row's own degrees of longitude.
    """
    latitude, longitude = firing.latitude_deg, firing.longitude_deg
    if latitude is None or longitude is None or not math.isfinite(latitude) or not math.isfinite(longitude):
        return f"vehicle:{firing.vehicle_id}"
    row = math.floor(latitude * _METRES_PER_DEGREE / cell_m)
    latitude_deg = (row + 0.5) * cell_m / _METRES_PER_DEGREE
    width_m = _METRES_PER_DEGREE * max(0.01, math.cos(math.radians(latitude_deg)))
    column = math.floor(longitude * width_m / cell_m)
    return f"{row}:{column}"


def wait_ns(attempts: int, repeat_s: float) -> int:
    """How long to wait for a clip that was requested again `attempts` times: doubling, up to 1,024 times as long."""
    return seconds_to_ns(repeat_s) << min(attempts, MOST_DOUBLINGS)  # times two to the power of attempts


def ask_again(
    attempts: int, last_asked_utc_ns: int, expires_at_utc_ns: int, repeat_s: float, now_utc_ns: int
) -> bool:
    """True when a clip that has not come should be requested again: after doubling waits, never past the expiry."""
    return now_utc_ns < expires_at_utc_ns and now_utc_ns - last_asked_utc_ns >= wait_ns(attempts, repeat_s)

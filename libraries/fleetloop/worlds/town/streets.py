"""The town: a grid of streets, the approaches to its junctions, and a map that is out of date.

Why it exists: vehicles need routes that can be driven again with the same seeds (before and after a new model), a
map that is sometimes wrong (a trigger detects that), and named streets, so that a test set can come from streets
that the fleet never drives. A `Town` could also be generated from real street maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

import numpy as np

from fleetloop.worlds.town.approach import Approach, build

MAP_NONE, MAP_STOP_SIGN, MAP_TRAFFIC_LIGHT = 0, 1, 2
_ORIGIN_LATITUDE, _ORIGIN_LONGITUDE = 45.0, 7.0
_BLOCK_M = 80.0
_HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""East, north, west, south; turning left is the next one."""


def zipf_mix(exponent: float = 1.0, common: float = 0.42) -> Mapping[str, float]:
    """Return the share of each kind of approach: `common` for streets without a stop sign, the rest by Zipf's law."""
    tail = ("plain", "leaves", "placard", "held", "truck")
    weights = np.array([1.0 / rank**exponent for rank in range(1, len(tail) + 1)])
    weights *= (1 - common) / weights.sum()
    shares = {"open": common * 0.6, "light": common * 0.4}
    return MappingProxyType(shares | dict(zip(tail, weights.tolist(), strict=True)))


@dataclass(frozen=True, slots=True)
class Street:
    """One direction of one block."""

    place: str
    """Name of the street, unique among all towns."""
    approach: Approach
    corner: tuple[int, int]
    """Column and row of the junction where it begins."""
    heading: int
    """Index into east, north, west, south."""
    map_feature: int
    """What the map says is at the end of the block; it may be wrong."""

    def position(self, along_m: float) -> tuple[float, float, float]:
        """Return latitude, longitude and compass heading in degrees, `along_m` metres into the block."""
        east, north = _HEADINGS[self.heading]
        share = along_m / self.approach.length_m
        x, y = (self.corner[0] + east * share) * _BLOCK_M, (self.corner[1] + north * share) * _BLOCK_M
        longitude = _ORIGIN_LONGITUDE + x / (111_320 * np.cos(np.radians(_ORIGIN_LATITUDE)))
        return _ORIGIN_LATITUDE + y / 110_574, float(longitude), (90.0 - 90.0 * self.heading) % 360


class Town:
    """Streets on a grid of `size` x `size` junctions that wraps around. Each is built when it is first requested."""

    def __init__(self, seed: int, size: int, mix: Mapping[str, float], map_version: int) -> None:
        self.seed = seed
        self.size = size
        self.mix = mix
        self.map_version = map_version
        self._streets: dict[tuple[int, int, int], Street] = {}

    @classmethod
    def generate(
        cls, seed: int, *, size: int = 12, mix: Mapping[str, float] | None = None, map_version: int = 1
    ) -> "Town":
        """Generate a town, the same for the same arguments. `mix` is the share of each kind of approach."""
        return cls(seed, size, mix or zipf_mix(), map_version)

    @cached_property
    def _kinds(self) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.float64]]]:
        kinds = list(self.mix)
        shares = np.array([self.mix[kind] for kind in kinds], np.float64)
        return kinds, shares / shares.sum()

    def street(self, column: int, row: int, heading: int) -> Street:
        """Return the block that leaves junction (column, row) in a direction; the grid wraps around."""
        key = (column % self.size, row % self.size, heading % 4)
        if key not in self._streets:
            self._streets[key] = self._make(*key)
        return self._streets[key]

    def following(self, street: Street, turn: str) -> Street:
        """Return the block after the junction, going straight, left or right."""
        east, north = _HEADINGS[street.heading]
        change: Final = {"straight": 0, "left": 1, "right": -1}[turn]
        return self.street(street.corner[0] + east, street.corner[1] + north, street.heading + change)

    def _make(self, column: int, row: int, heading: int) -> Street:
        rng = np.random.default_rng((self.seed, column, row, heading))
        kinds, shares = self._kinds
        approach = build(str(rng.choice(kinds, p=shares)), rng)
        correct = MAP_NONE
        if approach.light_phase_s is not None:
            correct = MAP_TRAFFIC_LIGHT
        elif (approach.sign.must_stop and approach.kind != "held") or approach.kind == "placard":
            correct = MAP_STOP_SIGN
        mapped, draw = correct, rng.random()
        if correct == MAP_STOP_SIGN and draw < 0.12:
            mapped = MAP_NONE  # the sign was put up after the map was made
        elif correct == MAP_NONE and draw < 0.08:
            mapped = MAP_STOP_SIGN  # the sign was removed since
        return Street(f"town{self.seed}/{column}-{row}-{heading}", approach, (column, row), heading, mapped)

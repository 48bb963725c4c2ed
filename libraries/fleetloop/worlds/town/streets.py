"""The town itself: a grid of streets, what stands at its junctions, and a map of it that is out of date.

Why it exists: vehicles need routes that can be driven again with the same seeds (before and after a new model), a
map that is sometimes wrong (a trigger lives off that), and places with names, so that a test set can come from
places that the fleet never drives. Towns from real street maps would be another way to make a `Town`.
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
    """How often each kind of approach occurs: `common` for streets without a stop sign, the rest by Zipf's law."""
    tail = ("plain", "leaves", "placard", "held", "truck")
    weights = np.array([1.0 / rank**exponent for rank in range(1, len(tail) + 1)])
    weights *= (1 - common) / weights.sum()
    shares = {"open": common * 0.6, "light": common * 0.4}
    return MappingProxyType(shares | dict(zip(tail, weights.tolist(), strict=True)))


@dataclass(frozen=True, slots=True)
class Street:
    """One direction of one block: a place with a name."""

    place: str
    approach: Approach
    corner: tuple[int, int]
    heading: int
    """Index into east, north, west, south."""
    map_feature: int
    """What the low-definition map promises at the end; it may be wrong."""

    def position(self, along_m: float) -> tuple[float, float, float]:
        """Latitude, longitude in degrees and compass heading in degrees at a point along the block."""
        east, north = _HEADINGS[self.heading]
        share = along_m / self.approach.length_m
        x, y = (self.corner[0] + east * share) * _BLOCK_M, (self.corner[1] + north * share) * _BLOCK_M
        longitude = _ORIGIN_LONGITUDE + x / (111_320 * np.cos(np.radians(_ORIGIN_LATITUDE)))
        return _ORIGIN_LATITUDE + y / 110_574, float(longitude), (90.0 - 90.0 * self.heading) % 360


class Town:
    """Streets on a ring-shaped grid of `size` x `size` junctions, made when they are first looked at."""

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
        """A town that is the same for the same arguments. `mix` gives the share of each kind of approach."""
        return cls(seed, size, mix or zipf_mix(), map_version)

    @cached_property
    def _kinds(self) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.float64]]]:
        kinds = list(self.mix)
        shares = np.array([self.mix[kind] for kind in kinds], np.float64)
        return kinds, shares / shares.sum()

    def street(self, column: int, row: int, heading: int) -> Street:
        """The block that leaves junction (column, row) in a direction; the grid wraps round."""
        key = (column % self.size, row % self.size, heading % 4)
        if key not in self._streets:
            self._streets[key] = self._make(*key)
        return self._streets[key]

    def following(self, street: Street, turn: str) -> Street:
        """The block after a junction, going straight, left or right."""
        east, north = _HEADINGS[street.heading]
        change: Final = {"straight": 0, "left": 1, "right": -1}[turn]
        return self.street(street.corner[0] + east, street.corner[1] + north, street.heading + change)

    def _make(self, column: int, row: int, heading: int) -> Street:
        rng = np.random.default_rng((self.seed, column, row, heading))
        kinds, shares = self._kinds
        approach = build(str(rng.choice(kinds, p=shares)), rng)
        truly = MAP_NONE
        if approach.light_phase_s is not None:
            truly = MAP_TRAFFIC_LIGHT
        elif (approach.meaning.must_stop and approach.kind != "held") or approach.kind == "placard":
            truly = MAP_STOP_SIGN
        promised, luck = truly, rng.random()
        if truly == MAP_STOP_SIGN and luck < 0.12:
            promised = MAP_NONE  # put up after the map was made
        elif truly == MAP_NONE and luck < 0.08:
            promised = MAP_STOP_SIGN  # taken away since
        return Street(f"town{self.seed}/{column}-{row}-{heading}", approach, (column, row), heading, promised)

"""One block of a street up to its junction: its shapes, and the correct answer about its sign.

Why it exists: the rare situations are defined here. Each kind of approach is one small builder that returns shapes
and the answer that a person would give, so that a new kind is a new builder and a line in `BUILDERS`.

Leaves hide a sign only from a distance: the branch hangs five metres before the sign and nearer to the lane, so that
it leaves the line of sight at about ten metres. Later frames of the same drive therefore show what earlier frames
hid, and a hindsight source can label the earlier frames from them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from fleetloop.worlds.town import shapes as s
from fleetloop.worlds.town.shapes import Colour, FloatArray, Shape

SIGN_SEEN_M: Final = 22.0
"""Largest distance at which a sign is large enough in the pictures to be answered."""
UNSURE_M: Final = 32.0
"""Between SIGN_SEEN_M and this distance a person could not tell, so that the truth has no answer. Beyond, the correct
answer is that there is no sign.
"""
SIGN_LOST_M: Final = 6.0
"""At a shorter distance the sign is outside the pictures."""

SIGN_RED: Final[Colour] = (0.80, 0.05, 0.08)
WHITE: Final[Colour] = (0.95, 0.95, 0.93)
STEEL: Final[Colour] = (0.45, 0.45, 0.47)
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class SignTruth:
    """The truth about an approach's stop sign or look-alike."""

    is_sign: bool = False
    applies: bool = False
    attribute: str | None = None
    """One of the stop_sign attributes in config/tasks.yaml; None: none of them."""
    choice: str = "none"
    """The choice of a careful labeller."""

    @property
    def must_stop(self) -> bool:
        """Whether the vehicle must stop."""
        return self.is_sign and self.applies


@dataclass(frozen=True, slots=True)
class Traffic:
    """A vehicle ahead. It keeps a distance of about `gap_m` and accelerates away before the junction.

    `shapes` are at X = 0.
    """

    gap_m: float
    shapes: FloatArray
    carries_picture: bool = False

    def distance_m(self, along_m: float, length_m: float) -> float:
        """Return its distance in metres from a car at `along_m`."""
        leaving = max(0.0, along_m - (length_m - 34.0))
        return self.gap_m + 2.5 * math.sin(along_m / 9.0) * (self.gap_m > 11) + 1.6 * leaving


@dataclass(frozen=True, slots=True)
class Approach:
    """A block of one lane: from the junction behind (0) to the stop line of the one ahead (`length_m`)."""

    kind: str
    length_m: float
    shapes: FloatArray
    sign: SignTruth
    sign_m: float
    """Position of the sign, metres along the street."""
    ground: tuple[Colour, Colour]
    traffic: Traffic | None = None
    light_phase_s: float | None = None
    """Seconds into its cycle at which the traffic light starts; None: there is no traffic light."""
    turn: str = "straight"
    """Direction of this lane at the junction: straight, left or right."""
    extra: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


Built = tuple[list[Shape], SignTruth, Traffic | None]
Builder = Callable[[Rng, float], Built]


def build(kind: str, rng: Rng) -> Approach:
    """Build an approach of one kind. Raises KeyError for a kind that is not in BUILDERS."""
    length_m = float(rng.uniform(58, 76))
    sign_m = length_m - float(rng.uniform(1.5, 4.0))
    things, sign, traffic = BUILDERS[kind](rng, sign_m)
    scenery = _scenery(rng, length_m)
    if traffic is None and rng.random() < 0.3:
        traffic = _car(rng)
    green = rng.uniform(0.3, 0.5)
    verge = (float(green * rng.uniform(0.6, 1.0)), float(green), float(green * rng.uniform(0.4, 0.7)))
    grey = rng.uniform(0.65, 0.9)
    sky = (float(grey * rng.uniform(0.75, 1)), float(grey * 0.97), float(min(1, grey * rng.uniform(1, 1.15))))
    turn = "right" if kind == "placard" else str(rng.choice(["straight", "left", "right"], p=[0.6, 0.2, 0.2]))
    return Approach(
        kind=kind,
        length_m=length_m,
        shapes=s.rows([*scenery, *things]),
        sign=sign,
        sign_m=sign_m,
        ground=(verge, sky),
        traffic=traffic,
        light_phase_s=float(rng.uniform(0, 30)) if kind == "light" else None,
        turn=turn,
    )


def _open(rng: Rng, sign_m: float) -> Built:
    """Build an approach without a stop sign, perhaps with other objects that are red, on a post, or behind leaves."""
    things: list[Shape] = []
    if rng.random() < 0.55:
        things += _other_sign(rng, sign_m - float(rng.uniform(0, 25)))
    if rng.random() < 0.3:
        things += _leaves(rng, sign_m - float(rng.uniform(0, 12)), float(rng.uniform(0.3, 0.95)))
    if rng.random() < 0.3:
        x, y = sign_m - float(rng.uniform(0, 20)), float(rng.uniform(-4.0, -2.3))
        things += _person(rng, x, y)
    traffic = _truck(rng, picture=False) if rng.random() < 0.2 else None
    return things, SignTruth(), traffic


def _plain(rng: Rng, sign_m: float) -> Built:
    things = _stop_sign(rng, sign_m)
    if rng.random() < 0.2:
        things += _leaves(rng, sign_m - float(rng.uniform(14, 30)), float(rng.uniform(0.9, 1.3)))
    if rng.random() < 0.2:
        things += _person(rng, sign_m - float(rng.uniform(2, 10)), float(rng.uniform(-5.2, -4.2)))
    return things, SignTruth(True, True, None, "plain"), None


def _leaves_before_sign(rng: Rng, sign_m: float) -> Built:
    things = _stop_sign(rng, sign_m, lateral_m=-3.2) + _leaves(rng, sign_m, 0.70, sparse=False)
    return things, SignTruth(True, True, "occluded", "occluded"), None


def _placard(rng: Rng, sign_m: float) -> Built:
    y, top = float(rng.uniform(-3.5, -2.9)), float(rng.uniform(2.2, 2.4))
    plate = top - 0.56 - 0.34
    things = [
        *_stop_sign(rng, sign_m, lateral_m=y, top_m=top),
        Shape(sign_m, y, plate, 0.56, 0.32, WHITE, nearer_m=0.06),
        Shape(sign_m, y + 0.08, plate + 0.08, 0.36, 0.06, (0.05, 0.05, 0.05), nearer_m=0.08),
        Shape(sign_m, y - 0.25, plate - 0.08, 0.13, 0.13, (0.05, 0.05, 0.05), s.DIAMOND, nearer_m=0.08),
    ]
    return things, SignTruth(True, False, "placard", "placard"), None


def _held(rng: Rng, sign_m: float) -> Built:
    y = float(rng.uniform(-3.0, -1.9))
    side = float(rng.choice([-0.5, 0.5]))
    vest = (0.95, 0.55, 0.05) if rng.random() < 0.5 else (0.8, 0.9, 0.1)
    x = sign_m - float(rng.uniform(0, 4))
    things = _person(rng, x, y, coat=vest)
    things += _octagon(x, y + side, float(rng.uniform(1.75, 2.0)), float(rng.uniform(0.34, 0.40)), 1.0)
    things.append(Shape(x, y + side, 1.35, 0.04, 0.35, STEEL, nearer_m=0.02))
    return things, SignTruth(True, True, "held", "held"), None


def _truck_with_picture(rng: Rng, sign_m: float) -> Built:
    del sign_m
    return [], SignTruth(False, False, "on_vehicle", "on_vehicle"), _truck(rng, picture=True)


def _light(rng: Rng, sign_m: float) -> Built:
    del rng
    y = -3.1
    return (
        [
            Shape(sign_m, y, 1.4, 0.06, 1.4, STEEL),
            Shape(sign_m, y, 3.3, 0.36, 0.95, (0.08, 0.08, 0.09), nearer_m=0.02),
        ],
        SignTruth(),
        None,
    )


BUILDERS: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        "open": _open,
        "plain": _plain,
        "light": _light,
        "leaves": _leaves_before_sign,
        "placard": _placard,
        "held": _held,
        "truck": _truck_with_picture,
    }
)
LAMPS: Final = (("red", 0.60, (1.0, 0.1, 0.05)), ("yellow", 0.0, (1.0, 0.8, 0.1)), ("green", -0.60, (0.1, 1.0, 0.35)))


def lamps(approach: Approach, state: str) -> FloatArray:
    """Return the three lamps of the approach's traffic light, the one of `state` lit: [3, COLUMNS]."""
    return s.rows(
        Shape(
            approach.sign_m, -3.1, 3.3 + rise, 0.27, 0.27,
            colour if name == state else (colour[0] * 0.2, colour[1] * 0.2, colour[2] * 0.2),
            s.OCTAGON, glow=float(name == state), nearer_m=0.05,
        )
        for name, rise, colour in LAMPS
    )  # fmt: skip


def _octagon(x: float, y: float, z: float, half_m: float, fade: float) -> list[Shape]:
    red = (SIGN_RED[0] * fade, SIGN_RED[1] + 0.12 * (1 - fade), SIGN_RED[2] + 0.12 * (1 - fade))
    return [
        Shape(x, y, z, half_m, half_m, WHITE, s.OCTAGON, nearer_m=0.04, glow=0.22),
        Shape(x, y, z, half_m * 0.88, half_m * 0.88, red, s.OCTAGON, nearer_m=0.06, glow=0.22),
        Shape(x, y, z, half_m * 0.66, half_m * 0.18, WHITE, nearer_m=0.08, glow=0.22),
    ]


def _stop_sign(rng: Rng, x: float, lateral_m: float | None = None, top_m: float | None = None) -> list[Shape]:
    y = float(rng.uniform(-3.7, -2.7)) if lateral_m is None else lateral_m
    z = float(rng.uniform(2.0, 2.5)) if top_m is None else top_m
    post = Shape(x, y, z / 2, 0.06, z / 2, STEEL)
    return [post, *_octagon(x, y, z, float(rng.uniform(0.52, 0.60)), float(rng.uniform(0.8, 1.0)))]


def _leaves(rng: Rng, sign_m: float, reach: float, sparse: bool = True) -> list[Shape]:
    """Build a branch five metres before `sign_m`, over the share `reach` of the way to a sign at the kerb."""
    x, centre_y, centre_z = sign_m - 5.0, -3.2 * reach, float(rng.uniform(1.9, 2.05))
    trunk_y = min(-4.6, centre_y - 1.0)
    things = [
        Shape(x, trunk_y, 1.3, 0.16, 1.3, (0.33, 0.23, 0.13)),
        Shape(x, (trunk_y + centre_y) / 2, centre_z + 0.2, abs(trunk_y - centre_y) / 2, 0.06, (0.33, 0.23, 0.13)),
        Shape(x, trunk_y, 3.2, 1.3, 0.9, _leaf_green(rng), s.OCTAGON),
    ]  # fmt: skip
    count = int(rng.integers(3, 8)) if sparse else int(rng.integers(7, 11))
    things += [
        Shape(
            x + float(rng.uniform(-0.4, 0.4)),
            centre_y + float(rng.normal(0, 0.30)),
            centre_z + float(rng.normal(0, 0.26)),
            float(rng.uniform(0.16, 0.30)),
            float(rng.uniform(0.14, 0.26)),
            _leaf_green(rng),
            s.OCTAGON,
            nearer_m=0.1,
        )
        for _ in range(count)
    ]
    return things


def _leaf_green(rng: Rng) -> Colour:
    green = float(rng.uniform(0.35, 0.6))
    return (green * float(rng.uniform(0.3, 0.75)), green, green * 0.3)


def _any_colour(rng: Rng) -> Colour:
    red, green, blue = rng.uniform(0.1, 0.9, 3).tolist()
    return red, green, blue


def _person(rng: Rng, x: float, y: float, coat: Colour | None = None) -> list[Shape]:
    colour = coat or _any_colour(rng)
    things = [
        Shape(x, y, 0.42, 0.17, 0.42, (0.15, 0.15, 0.25)),
        Shape(x, y, 1.12, 0.24, 0.32, colour, nearer_m=0.01),
        Shape(x, y, 1.60, 0.13, 0.15, (0.75, 0.55, 0.42), s.OCTAGON, nearer_m=0.01),
    ]
    if coat is None and rng.random() < 0.25:  # a red bag or balloon is not a sign
        z = float(rng.choice([0.75, 1.9]))
        things.append(Shape(x, y + 0.4, z, 0.2, 0.22, (0.75, 0.08, 0.1), nearer_m=0.03))
    return things


def _other_sign(rng: Rng, x: float) -> list[Shape]:
    y, z = float(rng.uniform(-3.7, -2.7)), float(rng.uniform(2.0, 2.5))
    post = Shape(x, y, z / 2, 0.06, z / 2, STEEL)
    kind = int(rng.integers(5))
    if kind == 0:  # a speed limit: white, with a red rim
        face = [
            Shape(x, y, z, 0.5, 0.5, SIGN_RED, s.OCTAGON, nearer_m=0.04),
            Shape(x, y, z, 0.36, 0.36, WHITE, s.OCTAGON, nearer_m=0.06),
            Shape(x, y, z, 0.2, 0.16, (0.1, 0.1, 0.1), nearer_m=0.08),
        ]
    elif kind == 1:
        face = [Shape(x, y, z, 0.55, 0.55, (0.95, 0.75, 0.1), s.DIAMOND, nearer_m=0.04)]
    elif kind == 2:
        face = [Shape(x, y, z, 0.45, 0.45, (0.1, 0.25, 0.7), nearer_m=0.04)]
    elif kind == 3:  # an advertisement: red, but a wide board
        face = [
            Shape(x, y, z, 0.95, 0.38, (0.78, 0.08, 0.1), nearer_m=0.04),
            Shape(x, y, z, 0.7, 0.1, WHITE, nearer_m=0.06),
        ]
    else:
        face = [
            Shape(x, y, z, 0.4, 0.55, WHITE, nearer_m=0.04),
            Shape(x, y, z, 0.22, 0.3, (0.1, 0.1, 0.1), nearer_m=0.06),
        ]
    return [post, *face]


def _car(rng: Rng) -> Traffic:
    colour = _any_colour(rng)
    lamp = (0.7, 0.05, 0.05)
    array = s.rows(
        [
            Shape(0, 0, 0.7, 0.9, 0.42, colour),
            Shape(0, 0, 1.3, 0.7, 0.25, (0.15, 0.2, 0.25), nearer_m=0.02),
            Shape(0, 0.7, 0.8, 0.14, 0.1, lamp, nearer_m=0.04, glow=0.8),
            Shape(0, -0.7, 0.8, 0.14, 0.1, lamp, nearer_m=0.04, glow=0.8),
            Shape(0, 0, 0.2, 0.85, 0.12, (0.05, 0.05, 0.05), nearer_m=0.02),
        ]
    )
    return Traffic(float(rng.uniform(8, 22)), array)


def _truck(rng: Rng, picture: bool) -> Traffic:
    grey = float(rng.uniform(0.5, 0.95))
    box = (grey, grey, grey * float(rng.uniform(0.85, 1.0)))
    if rng.random() < 0.4:
        box = (0.2 * grey, 0.4 * grey, 0.8 * grey)
    side = float(rng.uniform(-0.15, 0.15))
    things = [
        Shape(0, side, 2.0, 1.25, 1.35, box),
        Shape(0, side, 0.45, 1.15, 0.2, (0.08, 0.08, 0.08), nearer_m=0.02),
        Shape(0, side + 0.95, 0.62, 0.16, 0.1, (0.7, 0.05, 0.05), nearer_m=0.04, glow=0.8),
        Shape(0, side - 0.95, 0.62, 0.16, 0.1, (0.7, 0.05, 0.05), nearer_m=0.04, glow=0.8),
    ]
    if picture:
        y, z = side + float(rng.uniform(-0.7, 0.3)), float(rng.uniform(1.7, 2.3))
        things += _octagon(0, y, z, float(rng.uniform(0.46, 0.58)), 1.0)
    elif rng.random() < 0.5:
        things.append(Shape(0, side, 2.2, 0.8, 0.25, (0.75, 0.1, 0.1), nearer_m=0.04))
    return Traffic(float(rng.uniform(8, 13)), s.rows(things), carries_picture=picture)


def _scenery(rng: Rng, length_m: float) -> list[Shape]:
    """Build houses and trees on both sides, and parked cars at the far kerb."""
    things: list[Shape] = []
    for side, nearest, farthest in ((-1, 7.5, 11.0), (1, 11.0, 15.0)):
        x = float(rng.uniform(6, 12))
        while x < length_m - 4:
            wall = float(rng.uniform(0.35, 0.8))
            colour = (wall, wall * float(rng.uniform(0.75, 1.0)), wall * float(rng.uniform(0.6, 0.95)))
            y, half_h = side * float(rng.uniform(nearest, farthest)), float(rng.uniform(2.5, 5.0))
            half_w = float(rng.uniform(3, 5))
            glow = 0.7 * float(rng.random() < 0.5)
            things.append(Shape(x, y, half_h, half_w, half_h, colour))
            things.append(Shape(x, y, half_h, half_w * 0.6, 0.5, (0.3, 0.33, 0.35), nearer_m=0.05, glow=glow))
            x += float(rng.uniform(11, 20))
    for _ in range(int(rng.integers(2, 5))):
        x, y = float(rng.uniform(4, length_m - 12)), float(rng.choice([-5.5, 7.2]))
        green = _leaf_green(rng)
        things.append(Shape(x, y, 1.0, 0.15, 1.0, (0.33, 0.23, 0.13)))
        things.append(Shape(x, y, 3.0, float(rng.uniform(0.9, 1.5)), 1.2, green, s.OCTAGON))
    for _ in range(int(rng.integers(0, 3))):
        x, colour = float(rng.uniform(10, length_m - 10)), _any_colour(rng)
        things.append(Shape(x, 4.6, 0.75, 0.9, 0.6, colour))
    return things

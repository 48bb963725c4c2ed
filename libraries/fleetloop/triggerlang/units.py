"""Units of literals and signals: a speed cannot be compared with a distance, and km/h is converted to m/s."""

from __future__ import annotations

import math
from dataclasses import dataclass

_BASES = ("m", "s", "rad", "degC")


@dataclass(frozen=True, slots=True)
class Unit:
    """A dimension and a factor.

    ``powers`` are the exponents of metre, second, radian and degree Celsius; a value times ``factor`` is in these
    units.
    """

    powers: tuple[int, ...] = (0, 0, 0, 0)
    factor: float = 1.0

    def times(self, other: Unit) -> Unit:
        """The unit of a product."""
        powers = tuple(a + b for a, b in zip(self.powers, other.powers, strict=True))
        return Unit(powers, self.factor * other.factor)

    def per(self, other: Unit) -> Unit:
        """The unit of a quotient."""
        powers = tuple(a - b for a, b in zip(self.powers, other.powers, strict=True))
        return Unit(powers, self.factor / other.factor)

    def name(self) -> str:
        """Its name, such as ``km/h``, or for a unit without a name the product of the base units."""
        for name, unit in UNITS.items():
            if unit.powers == self.powers and math.isclose(unit.factor, self.factor):
                return name
        shown = [f"{base}^{power}" for base, power in zip(_BASES, self.powers, strict=True) if power]
        return " ".join(shown) or "a pure number"


PURE = Unit()
SECOND = Unit((0, 1, 0, 0))

UNITS: dict[str, Unit] = {
    "m": Unit((1, 0, 0, 0)),
    "km": Unit((1, 0, 0, 0), 1000.0),
    "cm": Unit((1, 0, 0, 0), 0.01),
    "s": SECOND,
    "ms": Unit((0, 1, 0, 0), 0.001),
    "min": Unit((0, 1, 0, 0), 60.0),
    "m/s": Unit((1, -1, 0, 0)),
    "km/h": Unit((1, -1, 0, 0), 1 / 3.6),
    "mph": Unit((1, -1, 0, 0), 0.44704),
    "m/s^2": Unit((1, -2, 0, 0)),
    "m/s^3": Unit((1, -3, 0, 0)),
    "rad": Unit((0, 0, 1, 0)),
    "deg": Unit((0, 0, 1, 0), math.pi / 180),
    "rad/s": Unit((0, -1, 1, 0)),
    "deg/s": Unit((0, -1, 1, 0), math.pi / 180),
    "degC": Unit((0, 0, 0, 1)),
    "Hz": Unit((0, -1, 0, 0)),
    "%": Unit((0, 0, 0, 0), 0.01),
}
"""The units that may follow a number in an expression, and that a catalogue may name."""

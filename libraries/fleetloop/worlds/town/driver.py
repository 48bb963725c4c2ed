"""Who moves the car: an autopilot that relies on the model for stop signs, and a person who supervises it.

Why it exists: the triggers detect where the two differ. The autopilot stops where the model reports a sign. The
person knows the street: they brake when the car would run a real sign, accelerate when the car stops for nothing,
and drive manually some of the time, with habits such as not stopping at every sign.

Red lights and vehicles ahead come from the truth, so that every mistake is about stop signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fleetloop.worlds.town.approach import Approach
from fleetloop.worlds.town.streets import Street

CRUISE_MPS = 8.5
BRAKING_MPS2 = 2.0
"""The autopilot's comfortable deceleration, metres per second squared."""
HARD_MPS2 = 4.5
"""Deceleration of a person who intervenes."""
_ACCELERATION_MPS2 = 1.8
_BELIEVED_NEAR_M = 24.0
"""Distance to the stop line below which the autopilot acts on a reported sign; the model estimates no distance."""
_HALT_S = 1.2
"""Seconds of standstill at the line that count as a stop."""
_REENGAGE_M = 14.0
"""Metres into a block after which the autopilot is engaged again, following a takeover in an earlier block."""
_QUIET_FROM_M = 16.0
"""Metres into a block from which a planned change of driver may happen, so that the turn is over."""
_MEMORY_S = 2.0
"""Seconds for which the autopilot still brakes for a sign that the model no longer reports."""


@dataclass(frozen=True, slots=True)
class Habits:
    """The habits of one person."""

    drives_share: float
    """Share of the blocks that this person drives manually."""
    rolls_share: float
    """Share of the stop signs that this person does not stop at when driving manually."""
    patience_s: float
    """Seconds of an unnecessary stop after which this person accelerates."""
    margin_m: float
    """Metres before the last possible braking point at which this person intervenes."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Habits:
        """Draw a person's habits; a fifth of the persons run half of the stop signs."""
        rolls = 0.5 if rng.random() < 0.2 else 0.05
        return cls(float(rng.uniform(0.15, 0.4)), rolls, float(rng.uniform(0.4, 1.2)), float(rng.uniform(1.0, 3.0)))


class Driver:
    """Speed, pedals and steering of one car, advanced tick by tick."""

    def __init__(self, habits: Habits, rng: np.random.Generator) -> None:
        self._habits = habits
        self._rng = rng
        self.engaged = True
        self.speed_mps = CRUISE_MPS * 0.7
        self.acceleration_mps2 = 0.0
        self.brake_percent = 0.0
        self.accelerator_percent = 0.0
        self.steering_deg = 0.0
        self.closing_mps = 0.0
        self.distance_m = 0.0
        self.autopilot_m = 0.0
        self.interventions = 0
        self.overrides = 0
        self._person_drives_block = False
        self._rolls = False
        self._took_over = False
        self._halted_s = 0.0
        self._wait_s = 0.0
        self._stopped_here = False
        self._unnecessary_s = 0.0
        self._last_lead: float | None = None
        self._entered_m = 0.0
        self._quiet_s = 0.0

    def enter(self, street: Street) -> None:
        """Start a new block. Draws the same number of random values for each block, so that routes do not depend on
        the model.
        """
        drives, rolls = self._rng.random(2)
        self._person_drives_block = bool(drives < self._habits.drives_share)
        self._rolls = bool(rolls < self._habits.rolls_share)
        self._took_over = self._took_over and not self._person_drives_block
        self._stopped_here = False
        self._halted_s = self._unnecessary_s = 0.0
        self._last_lead = None
        self._entered_m = self.distance_m

    def tick(
        self,
        street: Street,
        along_m: float,
        perceived: Mapping[str, float] | None,
        lead_m: float | None,
        light: str | None,
        seconds: float,
    ) -> float:
        """Advance by one tick of `seconds` and return the metres driven.

        Args:
            street: The current block.
            along_m: Position in the block.
            perceived: The model's outputs by signal path without prefix; None: no model runs.
            lead_m: True distance to the vehicle ahead; None: none.
            light: True state of the traffic light; None: none.
            seconds: Length of the tick.
        """
        approach = street.approach
        if self._took_over and self.distance_m - self._entered_m > _REENGAGE_M and along_m < approach.sign_m - 30:
            self._took_over = False
        self._hand_over(along_m, seconds)
        self.brake_percent = self.accelerator_percent = 0.0
        others = self._for_others(approach, along_m, lead_m, light, seconds)
        own = self._autopilot(approach, along_m, perceived) if self.engaged else self._person(approach, along_m)
        wanted = min(others, own)
        if self.engaged:
            wanted = self._watched(approach, along_m, wanted, others, seconds)
        return self._move(wanted, approach, along_m, seconds)

    def _hand_over(self, along_m: float, seconds: float) -> None:
        """Decide who drives. A planned change waits until the turn is over.

        The pedals then stay below what counts as a takeover for a short time, because a planned change is not one.
        """
        autopilot_drives = not (self._person_drives_block or self._took_over)
        if self.engaged and not autopilot_drives:
            if along_m < _QUIET_FROM_M:
                return
            self._quiet_s = 1.5
        self.engaged = autopilot_drives
        self._quiet_s = max(0.0, self._quiet_s - seconds)

    def _for_others(
        self, approach: Approach, along_m: float, lead_m: float | None, light: str | None, seconds: float
    ) -> float:
        """Return the acceleration that lights and traffic allow, from the truth."""
        allowed = _towards(self.speed_mps, CRUISE_MPS)
        if light in ("red", "yellow") and along_m < approach.length_m - 1:
            allowed = min(allowed, _halt_at(self.speed_mps, approach.length_m - 1 - along_m))
        if lead_m is not None:
            before = self._last_lead if self._last_lead is not None else lead_m
            self.closing_mps = (lead_m - before) / seconds
            self._last_lead = lead_m
            if lead_m < 5:
                allowed = min(allowed, -1.0)
        return allowed

    def _autopilot(self, approach: Approach, along_m: float, perceived: Mapping[str, float] | None) -> float:
        """Return the autopilot's acceleration: stop at the next line when the model reports a sign that applies.

        The position of the line comes from the map, because the model estimates no distance.
        """
        if perceived is None or self._stopped_here:
            return _towards(self.speed_mps, CRUISE_MPS)
        sees = perceived.get("StopSign.IsSign", 0.0) * perceived.get("StopSign.Applies", 0.0) > 0.5
        left_m = approach.length_m - along_m
        if sees and 0 < left_m < _BELIEVED_NEAR_M + 4:
            self._wait_s = _MEMORY_S
        if self._wait_s > 0 and left_m > 0:
            # The memory fades by the 0.1 s of a tick, except within 9 m, where the sign has left the pictures.
            self._wait_s = max(0.0, self._wait_s - 0.1) if left_m > 9 else self._wait_s
            return _halt_at(self.speed_mps, left_m)
        self._wait_s = 0.0
        return _towards(self.speed_mps, CRUISE_MPS)

    def _person(self, approach: Approach, along_m: float) -> float:
        """Return the person's acceleration: stop where the sign applies, unless they roll through it."""
        if self._stopped_here or along_m > approach.length_m or not approach.sign.must_stop:
            return _towards(self.speed_mps, CRUISE_MPS)
        if self._rolls and not self._took_over:
            return _towards(self.speed_mps, CRUISE_MPS * 0.75)
        return _halt_at(self.speed_mps, approach.length_m - along_m, HARD_MPS2 if self._took_over else BRAKING_MPS2)

    def _watched(self, approach: Approach, along_m: float, wanted: float, others: float, seconds: float) -> float:
        """Return the acceleration under supervision: the person brakes before a sign is run, and accelerates after an
        unnecessary stop.
        """
        left_m = approach.length_m - along_m
        must = approach.sign.must_stop and not self._stopped_here and left_m > 0
        # Deceleration that is needed to stop before the line, by the person's margin earlier (v^2 / 2s).
        needed = self.speed_mps**2 / (2 * max(left_m - min(self._habits.margin_m, left_m / 3), 0.3))
        if must and self.speed_mps > 3 and needed > 2.6 and wanted > -1.2:
            self.interventions += 1
            self._took_over, self.engaged = True, False
            self._entered_m = self.distance_m + max(left_m, 0.0)
            return -HARD_MPS2
        unnecessary = not approach.sign.must_stop and wanted < -0.8 and others > -0.5 and left_m > 0
        self._unnecessary_s = (
            self._unnecessary_s + seconds if unnecessary else max(0.0, self._unnecessary_s - seconds)
        )
        if self._unnecessary_s > self._habits.patience_s:
            self.overrides += 1
            self._took_over, self.engaged = True, False
            self._entered_m = self.distance_m + max(left_m, 0.0)
            self._unnecessary_s = 0.0
            self._wait_s = 0.0
            self.accelerator_percent = 45.0
            return _ACCELERATION_MPS2
        return wanted

    def _move(self, wanted: float, approach: Approach, along_m: float, seconds: float) -> float:
        """Apply an acceleration for `seconds`, set pedals and steering, and return the metres driven."""
        wanted = float(np.clip(wanted, -6.0, _ACCELERATION_MPS2))
        if not self.engaged:
            self.brake_percent = min(100.0, -wanted * 14.0) if wanted < -0.2 else 0.0
            pressed = 10.0 + wanted * 12.0 if wanted > 0.1 else 0.0
            if self._quiet_s > 0:
                pressed, self.brake_percent = min(pressed, 11.0), min(self.brake_percent, 11.0)
            self.accelerator_percent = max(self.accelerator_percent, pressed)
        before = self.speed_mps
        self.speed_mps = max(0.0, before + wanted * seconds)
        if self.speed_mps < 0.3 and approach.length_m - 5 < along_m <= approach.length_m + 1:
            self._halted_s += seconds
            if self._halted_s > _HALT_S and approach.light_phase_s is None:
                self._stopped_here, self._wait_s = True, 0.0
        self.acceleration_mps2 = (self.speed_mps - before) / seconds
        turning = approach.turn != "straight" and approach.length_m - along_m < 2
        target = {"left": 90.0, "right": -110.0}.get(approach.turn, 0.0) if turning else 0.0
        self.steering_deg += float(np.clip(target - self.steering_deg, -8, 8))
        moved = self.speed_mps * seconds
        self.distance_m += moved
        self.autopilot_m += moved if self.engaged else 0.0
        return moved


def _towards(speed_mps: float, wanted_mps: float) -> float:
    """Return the acceleration from a speed towards another."""
    return float(np.clip((wanted_mps - speed_mps) * 0.8, -2.0, _ACCELERATION_MPS2))


def _halt_at(speed_mps: float, left_m: float, braking_mps2: float = BRAKING_MPS2) -> float:
    """Return the acceleration to stop `left_m` ahead; while that is far away, the one towards cruising speed."""
    left_m = left_m - 1.0
    if left_m <= 0.2:
        return -HARD_MPS2 if speed_mps > 0.1 else -0.5
    needed = speed_mps**2 / (2 * left_m)
    if needed < braking_mps2 * 0.75:
        # Creep when nearly there, so that the line is reached at all.
        return min(
            _towards(speed_mps, CRUISE_MPS), (float(np.sqrt(2 * braking_mps2 * 0.75 * left_m)) - speed_mps) * 2
        )
    return -needed

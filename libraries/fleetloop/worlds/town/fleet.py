"""Vehicles in the town, sensed and moved together so that all their pictures are painted in one pass.

Why it exists: a route is decided by the seeds alone, never by what a model does, so that the same drives can be made
again with a better model and the difference is the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import ns_to_seconds
from fleetloop.worlds.town.driver import Driver, Habits
from fleetloop.worlds.town.labelled import day_light, night_light
from fleetloop.worlds.town.render import Renderer, View
from fleetloop.worlds.town.scene import lead_distance_m, light_state, truth, view
from fleetloop.worlds.town.streets import MAP_NONE, MAP_STOP_SIGN, Street, Town
from fleetloop.worlds.world import TICK_NS, TICKS_PER_PICTURE, FrameTruth, Sensed, SignalValue

START_UTC_NS = 1_577_836_800_000_000_000
"""Where a fleet's clocks start unless told otherwise: 2020-01-01, so far back that they never overtake now."""
TICK_S = ns_to_seconds(TICK_NS)
NIGHT_SHARE = 0.25
_BLOCKS_OF_ONE_LIGHT = 12
_MAP_WORDS = {MAP_NONE: "none", MAP_STOP_SIGN: "stop_sign"}
_RADAR_REACH_M = 60.0


class TownVehicle:
    """One vehicle: a route, the driver in it, and the autopilot that drives by what the model says."""

    def __init__(self, fleet: TownFleet, number: int, town: Town, fleet_seed: int) -> None:
        self.vehicle_id = f"town-{fleet_seed}-{number:03d}"
        self._fleet = fleet
        self._town = town
        self._seed = (fleet_seed, town.seed, number)
        self._rng = np.random.default_rng(self._seed)
        heading = int(self._rng.integers(4))
        self.street: Street = town.street(
            int(self._rng.integers(town.size)), int(self._rng.integers(town.size)), heading
        )
        self.behind: Street | None = None
        self.ahead = self._next_street()
        self.along_m = float(self._rng.uniform(4, 20))
        self.left_m = 0.0
        self.ticks = 0
        self._blocks = 0
        self._phase = int(self._rng.integers(100))
        self.driver = Driver(Habits.draw(self._rng), np.random.default_rng((*self._seed, 1)))
        self._perceived: Mapping[str, float] | None = None
        self.driver.enter(self.street)

    # --- WorldVehicle

    def sense(self) -> Sensed:
        """What the sensors say now; pictures only at every fifth tick."""
        return self._fleet.sense_one(self)

    def act(self, perceived: Mapping[str, float] | None) -> None:
        """A tenth of a second passes."""
        lead = lead_distance_m(self.street.approach, self.along_m)
        state = light_state(self.street.approach, self.time_s)
        moved_m = self.driver.tick(self.street, self.along_m, perceived, lead, state, TICK_S)
        self.along_m += moved_m
        self.left_m += 0.1 * float(np.sin(self.ticks * 0.05)) * 0.1 - 0.02 * self.left_m
        self.ticks += 1
        if self.along_m >= self.street.approach.length_m + 6.0:
            self.along_m -= self.street.approach.length_m + 6.0
            self.behind, self.street = self.street, self.ahead
            self.ahead = self._next_street()
            self._blocks += 1
            self.driver.enter(self.street)

    @property
    def truth(self) -> FrameTruth:
        """What a careful person would answer now."""
        return truth(self.street, along_m=self.along_m, time_s=self.time_s, night=self.night)

    def counters(self) -> Mapping[str, float]:
        """Distances in kilometres and events since the start."""
        return {
            "distance_km": self.driver.distance_m / 1000,
            "autopilot_km": self.driver.autopilot_m / 1000,
            "interventions": float(self.driver.interventions),
            "overrides": float(self.driver.overrides),
        }

    # --- for the fleet

    @property
    def time_s(self) -> float:
        """Seconds since the start, from which lights and daylight follow."""
        return self.ticks * TICK_S

    @property
    def night(self) -> bool:
        """A quarter of the route is driven at night. By blocks, not by clock: a model's halts must not move it."""
        return bool(np.random.default_rng((*self._seed, 2, self._span)).random() < NIGHT_SHARE)

    @property
    def _span(self) -> int:
        return (self._blocks + self._phase) // _BLOCKS_OF_ONE_LIGHT

    def view(self) -> View:
        """What the cameras are turned at."""
        rng = np.random.default_rng((*self._seed, 3, self._span))
        return view(
            self.street,
            self.behind,
            self.ahead,
            along_m=self.along_m,
            left_m=self.left_m,
            time_s=self.time_s,
            light=night_light(rng) if self.night else day_light(rng),
            noise_seed=(self.ticks * 31 + self._seed[2] * 977) % (1 << 30),
        )

    def signals(self) -> dict[str, SignalValue]:
        """Everything of the catalogue that this vehicle has, at this tick."""
        latitude, longitude, heading = self.street.position(min(self.along_m, self.street.approach.length_m))
        ahead_m = self.street.approach.sign_m - self.along_m
        promised = self.street.map_feature != MAP_NONE and ahead_m > 0
        lead = lead_distance_m(self.street.approach, self.along_m)
        turn = self.street.approach.turn if self.street.approach.length_m - self.along_m < 25 else ""
        driver = self.driver
        return {
            "Vehicle.Speed": driver.speed_mps * 3.6,
            "Vehicle.Acceleration.Longitudinal": driver.acceleration_mps2,
            "Vehicle.Chassis.SteeringWheel.Angle": driver.steering_deg,
            "Vehicle.Chassis.Brake.PedalPosition": driver.brake_percent,
            "Vehicle.Chassis.Accelerator.PedalPosition": driver.accelerator_percent,
            "Vehicle.TraveledDistance": driver.distance_m / 1000,
            "Vehicle.CurrentLocation.Latitude": latitude,
            "Vehicle.CurrentLocation.Longitude": longitude,
            "Vehicle.CurrentLocation.Heading": heading,
            "Vehicle.Body.Lights.DirectionIndicator.Left.IsSignaling": turn == "left",
            "Vehicle.Body.Lights.DirectionIndicator.Right.IsSignaling": turn == "right",
            "Vehicle.Body.Lights.Beam.Low.IsOn": self.night,
            "Autopilot.Engaged": driver.engaged,
            "Map.Feature": _MAP_WORDS.get(self.street.map_feature, "traffic_light") if promised else "none",
            "Map.FeatureDistance": float(ahead_m) if promised else 1000.0,
            "Map.Version": self._town.map_version,
            **self._radar(lead),
        }

    def _radar(self, lead: float | None) -> dict[str, SignalValue]:
        seen = [] if lead is None or lead > _RADAR_REACH_M else [lead]
        track = self.street.corner[0] * 1000 + self.street.corner[1] * 10 + self.street.heading
        return {
            "Radar.Object.Id": np.array([track] * len(seen), np.int64),
            "Radar.Object.Distance": np.array(seen, np.float32),
            "Radar.Object.Lateral": np.zeros(len(seen), np.float32),
            "Radar.Object.RelativeSpeed": np.array([self.driver.closing_mps] * len(seen), np.float32),
        }

    def _next_street(self) -> Street:
        """Mostly where the street's lane leads; the route's own dice break loops."""
        turn = self.street.approach.turn
        if self._rng.random() < 0.35:
            turn = str(self._rng.choice(["straight", "left", "right"]))
        return self._town.following(self.street, turn)


class TownFleet:
    """Vehicles of one process. `fleet_seed` decides routes and drivers, `town_seed` the town."""

    def __init__(
        self,
        schema: TaskSchema,
        vehicles: int,
        fleet_seed: int,
        town_seed: int,
        *,
        first: int = 0,
        start_utc_ns: int = START_UTC_NS,
        mix: Mapping[str, float] | None = None,
    ) -> None:
        """`first` is the number of the first vehicle, so that processes can share a fleet."""
        town = Town.generate(town_seed, mix=mix)
        self._renderer = Renderer(schema.cameras)
        self._start_utc_ns = start_utc_ns
        self.vehicles: list[TownVehicle] = [
            TownVehicle(self, number, town, fleet_seed) for number in range(first, first + vehicles)
        ]

    def sense_all(self) -> list[Sensed]:
        """All vehicles' sensors; the pictures of those that have a camera tick are painted together."""
        return self._sense(self.vehicles)

    def act_all(self, perceived: Sequence[Mapping[str, float] | None]) -> None:
        """Every vehicle drives on for a tick."""
        for vehicle, outputs in zip(self.vehicles, perceived, strict=True):
            vehicle.act(outputs)

    def sense_one(self, vehicle: TownVehicle) -> Sensed:
        """As `sense_all` for one vehicle."""
        return self._sense([vehicle])[0]

    def _sense(self, vehicles: Sequence[TownVehicle]) -> list[Sensed]:
        looking = [vehicle for vehicle in vehicles if vehicle.ticks % TICKS_PER_PICTURE == 0]
        pictures = self._renderer.render([vehicle.view() for vehicle in looking]) if looking else ()
        seen = {vehicle.vehicle_id: picture for vehicle, picture in zip(looking, pictures, strict=True)}
        return [
            Sensed(
                monotonic_ns=vehicle.ticks * TICK_NS,
                utc_ns=self._start_utc_ns + vehicle.ticks * TICK_NS,
                signals=vehicle.signals(),
                cameras=seen.get(vehicle.vehicle_id),
            )
            for vehicle in vehicles
        ]

"""For every trigger of the library: telemetry on which it fires, and telemetry that nearly makes it fire.

Values only; `synthetic_drives.py` turns them into a drive at 40 km/h with the car driving. Both columns are changes
to the calm drive; the near miss repeats what it shares with the first.
"""

from __future__ import annotations

from tests.unit.trigger_detector.synthetic_drives import NAN, Changes

IS, APPLIES = "Perception.StopSign.IsSign", "Perception.StopSign.Applies"
PRESENT, DISTANCE = "Perception.LeadVehicle.Present", "Perception.LeadVehicle.Distance"
STATE, SCORE = "Perception.TrafficLight.State", "Perception.TrafficLight.StateScore"
SPEED, ENGAGED, BRAKE = "Vehicle.Speed", "Autopilot.Engaged", "Vehicle.Chassis.Brake.PedalPosition"
SIGN: Changes = {IS: [(20, 0.9), (23, 0.02)]}
TO_SIGN: Changes = {
    "Map.Feature": [(15, "stop_sign"), (21, "none")],
    "Map.FeatureDistance": [(14.9, 1000), (15, 66), (21, 0), (21.1, 1000)],
}
TO_LIGHT: Changes = {**TO_SIGN, "Map.Feature": [(15, "traffic_light"), (21, "none")]}
AT_LIGHT: Changes = {
    "Map.Feature": [(10, "traffic_light"), (30, "none")],
    "Map.FeatureDistance": [(9.9, 1000), (10, 30), (30, 30), (30.1, 1000)],
}
HALT: Changes = {SPEED: [(20, 40), (25, 0)]}
HARD_STOP: Changes = {SPEED: [(20, 40), (22, 15)]}
BY_HAND: Changes = {ENGAGED: [(0, False)]}
TAKEOVER: Changes = {ENGAGED: [(20, False)], BRAKE: [(19.8, 60.0), (22, 0.0)]}
CAR_AHEAD: Changes = {PRESENT: [(10, 0.95), (30, 0.02)], DISTANCE: [(10, 20.0), (30, NAN)]}
RED: Changes = {STATE: [(20, "red"), (24, "none")]}

CASES: dict[str, tuple[Changes, Changes]] = {
    "stop_sign_low_confidence": (
        {IS: [(20, 0.5), (24, 0.02)]},
        {IS: [(20, 0.5), (21, 0.9), (24, 0.02)]},
    ),
    "stop_sign_applies_unsure": (
        {IS: [(15, 0.95), (25, 0.02)], APPLIES: [(20, 0.5)]},
        {IS: [(15, 0.95), (25, 0.02)], APPLIES: [(20, 0.5), (21, 0.9)]},
    ),
    "stop_sign_late_detection": (
        {**TO_SIGN, IS: [(20.5, 0.9), (21.5, 0.02)]},
        {**TO_SIGN, IS: [(17, 0.9), (21.5, 0.02)]},
    ),
    "stop_sign_vanishes": (
        {**AT_LIGHT, "Map.Feature": [(10, "stop_sign"), (30, "none")], IS: [(15, 0.95), (20, 0.02)]},
        {**TO_SIGN, IS: [(15, 0.95), (21, 0.02)]},  # it was passed
    ),
    "stop_sign_held": (
        {**SIGN, "Perception.StopSign.Held": [(20, 0.8), (23, 0.02)]},
        {**SIGN, "Perception.StopSign.Held": [(20, 0.8), (20.5, 0.02)]},
    ),
    "stop_sign_occluded": (
        {IS: [(20, 0.7), (23, 0.02)], "Perception.StopSign.Occluded": [(20, 0.8), (23, 0.02)]},
        {IS: [(20, 0.96), (23, 0.02)], "Perception.StopSign.Occluded": [(20, 0.8), (23, 0.02)]},
    ),
    "stop_sign_on_vehicle": (
        {**SIGN, "Perception.StopSign.OnVehicle": [(20, 0.8), (23, 0.02)]},
        {**SIGN, "Perception.StopSign.OnVehicle": [(20, 0.1), (23, 0.02)]},
    ),
    "stop_sign_at_green_light": (
        {**SIGN, STATE: [(20, "green"), (23, "none")]},
        {**SIGN, STATE: [(20, "green"), (23, "none")], APPLIES: [(20, 0.2)]},
    ),
    "stop_sign_missed_at_night": (
        {**TO_SIGN, "Vehicle.Body.Lights.Beam.Low.IsOn": [(0, True)]},
        {**TO_SIGN},
    ),
    "stop_sign_halt_without_reason": (
        {**HALT},
        {**HALT, **AT_LIGHT},
    ),
    "stop_sign_shadow_disagrees": (
        {"Shadow.StopSign.IsSign": [(20, 0.9), (23, 0.02)]},
        {"Shadow.StopSign.IsSign": [(20, 0.9), (20.5, 0.02)]},
    ),
    "stop_sign_shadow_applies_disagrees": (
        {**SIGN, "Shadow.StopSign.IsSign": [(20, 0.9), (23, 0.02)], "Shadow.StopSign.Applies": [(0, 0.1)]},
        {**SIGN, "Shadow.StopSign.IsSign": [(20, 0.5), (23, 0.02)], "Shadow.StopSign.Applies": [(0, 0.1)]},
    ),
    "stop_sign_track_flickers": (
        {"Tracks": [(10, 30, 30, "stop_sign", [(0, 0.9), (20, 0.3), (20.4, 0.9)])]},
        {"Tracks": [(10, 30, 30, "stop_sign", [(0, 0.9), (20, 0.3)])]},
    ),
    "stop_sign_track_changes_class": (
        {"Tracks": [(10, 30, 30, [(0, "unknown"), (20, "stop_sign")], 0.8)]},
        {"Tracks": [(10, 30, 30, [(0, "unknown"), (20, "stop_sign")], 0.4)]},
    ),
    "lead_vehicle_radar_unseen": (
        {"Radar": [(15, 25, 25, 0)]},
        {"Radar": [(15, 25, 25, 3)]},  # in the next lane
    ),
    "lead_vehicle_radar_empty": (
        {**CAR_AHEAD},
        {**CAR_AHEAD, "Radar": [(5, 35, 21, 0.5)]},
    ),
    "lead_vehicle_distance_off": (
        {**CAR_AHEAD, "Radar": [(5, 35, 36, 0)]},
        {**CAR_AHEAD, "Radar": [(5, 35, 28, 0)]},
    ),
    "lead_vehicle_flicker": (
        {PRESENT: [(10, 0.9), (20, 0.2), (20.5, 0.9)]},
        {PRESENT: [(10, 0.9), (20, 0.2)]},
    ),
    "lead_vehicle_low_confidence": (
        {PRESENT: [(20, 0.5), (24, 0.02)]},
        {PRESENT: [(20, 0.5), (21.5, 0.02)]},
    ),
    "lead_vehicle_late_detection": (
        {"Radar": [(15, 26, 30, 0)], PRESENT: [(19, 0.9), (26, 0.02)]},
        {"Radar": [(18, 26, 30, 0)], PRESENT: [(19, 0.9), (26, 0.02)]},
    ),
    "lead_vehicle_vanishes": (
        {PRESENT: [(10, 0.95), (20, 0.02)], DISTANCE: [(10, 20.0), (20, NAN)], "Radar": [(5, 30, 20, 0)]},
        {PRESENT: [(10, 0.95), (20, 0.02)], DISTANCE: [(10, 20.0), (20, NAN)], "Radar": [(5, 20, 20, 0)]},
    ),
    "lead_vehicle_distance_jumps": (
        {PRESENT: [(10, 0.95)], DISTANCE: [(10, 20.0), (20, 40.0)]},
        {PRESENT: [(10, 0.95)], DISTANCE: [(10, 20.0), (20, 30.0)]},
    ),
    "lead_vehicle_braked_unseen": (
        {**BY_HAND, **HARD_STOP},
        {**BY_HAND, **HARD_STOP, PRESENT: [(19, 0.9)]},
    ),
    "lead_vehicle_phantom_braking": (
        {SPEED: [(20, 40), (23, 14)]},
        {SPEED: [(20, 40), (23, 14)], "Radar": [(18, 24, 30, 0)]},
    ),
    "lead_vehicle_takeover_unseen": (
        {**TAKEOVER, "Radar": [(15, 25, 15, 0)]},
        {**TAKEOVER, "Radar": [(15, 25, 15, 0)], PRESENT: [(15, 0.9)]},
    ),
    "lead_vehicle_shadow_disagrees": (
        {"Shadow.LeadVehicle.Present": [(20, 0.9), (23, 0.02)]},
        {"Shadow.LeadVehicle.Present": [(20, 0.5), (23, 0.02)]},
    ),
    "lead_vehicle_track_flickers": (
        {"Tracks": [(10, 30, 30, "car", [(0, 0.9), (20, 0.3), (20.4, 0.9)])]},
        {"Tracks": [(10, 30, 60, "car", [(0, 0.9), (20, 0.3), (20.4, 0.9)])]},
    ),
    "traffic_light_flicker": (
        {STATE: [(10, "red"), (20, "green"), (20.5, "red"), (30, "none")]},
        {STATE: [(10, "red"), (20, "green"), (30, "none")]},
    ),
    "traffic_light_impossible_order": (
        {STATE: [(10, "green"), (20, "red"), (30, "none")]},
        {STATE: [(10, "green"), (20, "yellow"), (23, "red"), (30, "none")]},
    ),
    "traffic_light_low_confidence": (
        {**RED, SCORE: [(20, 0.45), (24, 0.98)]},
        {**RED, SCORE: [(20, 0.6), (24, 0.98)]},
    ),
    "traffic_light_map_missed": (
        {**TO_LIGHT},
        {**TO_LIGHT, STATE: [(19, "green"), (22, "none")]},
    ),
    "traffic_light_map_invented": (
        {**RED},
        {**RED, **AT_LIGHT},
    ),
    "traffic_light_late_detection": (
        {**TO_LIGHT, STATE: [(20.5, "red"), (22, "none")]},
        {**TO_LIGHT, STATE: [(17, "red"), (22, "none")]},
    ),
    "traffic_light_vanishes": (
        {**AT_LIGHT, STATE: [(10, "red"), (20, "none")]},
        {STATE: [(10, "red"), (20, "none")]},  # passed, says the map
    ),
    "traffic_light_driven_through": (
        {**BY_HAND, **RED},
        {**BY_HAND, **RED, SPEED: [(19, 40), (24, 22)]},
    ),
    "traffic_light_halt_at_green": (
        {**BY_HAND, **HALT, STATE: [(18, "green")]},
        {**BY_HAND, **HALT, STATE: [(18, "green"), (24, "red")]},
    ),
    "traffic_light_takeover": (
        {**TAKEOVER, **AT_LIGHT},
        {**TAKEOVER, **AT_LIGHT, STATE: [(15, "red")]},
    ),
    "traffic_light_shadow_disagrees": (
        {"Shadow.TrafficLight.State": [(20, "red"), (23, "none")]},
        {"Shadow.TrafficLight.State": [(20, "red"), (20.5, "none")]},
    ),
}

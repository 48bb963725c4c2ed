"""The metrics that only fleet_monitor has. The label `model` is the first 12 digits of the model's digest.

They are gauges and no counters, because reports are pruned after their retention and a restart restores the sums.
"""

from __future__ import annotations

from prometheus_client import Gauge

AUTOPILOT_METERS = Gauge(
    "fleetloop_fleet_autopilot_meters",
    "Distance that vehicles drove with the model engaged, in meters, in the reports that the monitor keeps.",
    ["model", "cohort"],
)
INTERVENTIONS = Gauge(
    "fleetloop_fleet_interventions",
    "Interventions of drivers while the model was engaged, in the reports that the monitor keeps.",
    ["model", "cohort"],
)
INFERENCES = Gauge(
    "fleetloop_fleet_inferences",
    "Inferences that vehicles ran, in the reports that the monitor keeps.",
    ["model", "cohort"],
)
INFERENCE_P99_SECONDS = Gauge(
    "fleetloop_fleet_inference_p99_seconds",
    "99th percentile of the duration of an inference, of the slowest vehicle.",
    ["model", "cohort"],
)
VEHICLES = Gauge("fleetloop_fleet_vehicles", "Vehicles by the model that their latest report attests.", ["model"])

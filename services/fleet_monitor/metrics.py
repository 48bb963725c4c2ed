"""The metrics that only fleet_monitor has. The label `model` is the first 12 digits of the model's digest."""

from __future__ import annotations

from prometheus_client import Gauge

KM = Gauge(
    "fleetloop_fleet_autopilot_km", "Distance driven with the model engaged, in kilometres.", ["model", "cohort"]
)
INTERVENTIONS = Gauge("fleetloop_fleet_interventions", "Interventions of drivers.", ["model", "cohort"])
INFERENCES = Gauge("fleetloop_fleet_inferences", "Inferences of the model.", ["model", "cohort"])
INFERENCE_P99_SECONDS = Gauge(
    "fleetloop_fleet_inference_p99_seconds",
    "99th percentile of the duration of an inference, of the slowest vehicle.",
    ["model", "cohort"],
)
VEHICLES = Gauge("fleetloop_fleet_vehicles", "Vehicles by the model that their latest report attests.", ["model"])

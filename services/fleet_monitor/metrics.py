"""Every metric that fleet_monitor adds to the common ones. A model is named by 12 digits of its digest."""

from __future__ import annotations

from prometheus_client import Gauge

# Distance driven with the model engaged, by model and cohort.
KM = Gauge("fleetloop_fleet_autopilot_km", "Distance driven with a model, km.", ["model", "cohort"])
# Interventions of drivers, by model and cohort.
INTERVENTIONS = Gauge("fleetloop_fleet_interventions", "Interventions of drivers.", ["model", "cohort"])
# Inferences, by model and cohort.
INFERENCES = Gauge("fleetloop_fleet_inferences", "Frames that a model was asked for.", ["model", "cohort"])
# Slowest 99th percentile of an inference among the vehicles.
INFERENCE_P99_SECONDS = Gauge(
    "fleetloop_fleet_inference_p99_seconds", "Slowest vehicle's 99th percentile of inference.", ["model", "cohort"]
)
# Vehicles by the model that they attest.
VEHICLES = Gauge("fleetloop_fleet_vehicles", "Vehicles by the model that they attest.", ["model"])

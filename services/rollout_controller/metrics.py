"""Every metric that rollout_controller adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# Moves of candidates, by the stage that they moved to.
MOVES = Counter("fleetloop_rollout_moves_total", "Moves of candidates.", ["stage"])
# Vehicles by the model that they attest (first 12 digits of its digest).
VEHICLES = Gauge("fleetloop_rollout_vehicles", "Vehicles by the model they attest.", ["model"])
# Vehicles that were not heard from for `silent_after_s`: no rollout waits for them.
SILENT_VEHICLES = Gauge("fleetloop_rollout_vehicles_silent", "Vehicles that no rollout waits for any more.")
# Seconds from the start of a rollout until the last vehicle attested the model.
LAST_VEHICLE_SECONDS = Histogram(
    "fleetloop_rollout_last_vehicle_seconds",
    "Time until the last vehicle attests a released model.",
    buckets=(1, 5, 10, 30, 60, 300, 1800, 7200, 86400, 604800),
)

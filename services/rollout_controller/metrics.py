"""Every metric that rollout_controller adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from fleetloop.kit.process.metrics import LOOP_BUCKETS_S

SERVICE = "rollout-controller"

MOVES = Counter("fleetloop_rollout_moves_total", "Moves of candidates, by the stage that they moved to.", ["stage"])
VEHICLES = Gauge(
    "fleetloop_rollout_vehicles",
    "Vehicles by the model that they attest (the first 12 digits of its digest, or none).",
    ["model"],
)
SILENT_VEHICLES = Gauge(
    "fleetloop_rollout_silent_vehicles",
    "Vehicles that were not heard from for silent_after_s of config/rollout.yaml: no rollout waits for them.",
)
PAUSED = Gauge("fleetloop_rollout_paused", "1 while a person has paused the open rollout, else 0.")
STOPPED = Gauge(
    "fleetloop_rollout_stopped",
    "1 while a person has stopped all rollouts, so that none begins or moves forward, else 0.",
)
TRUST_EXPIRES_IN_SECONDS = Gauge(
    "fleetloop_trust_expires_in_seconds",
    "Seconds until offline-signed metadata expires, by repository and role; afterwards no vehicle takes a model.",
    ["repository", "role"],
)
REFUSED_REPORTS = Counter(
    "fleetloop_rollout_refused_reports_total",
    "Reports of vehicles that are no evidence in the open rollout, by reason.",
    ["reason"],
)
EVIDENCE = Gauge(
    "fleetloop_rollout_evidence_ratio",
    "Evidence in the open rollout as a share of what a decision needs, in favour of the candidate and against it.",
    ["side"],
)
LAST_VEHICLE_SECONDS = Histogram(
    "fleetloop_rollout_last_vehicle_seconds",
    "Seconds from the start of a rollout until the last vehicle attested the released model.",
    buckets=(1, 5, 10, 30, 60, 300, 1800, 7200, 86400, 604800),
)
LOOP_LEAD_SECONDS = Histogram(
    "fleetloop_loop_lead_seconds",
    "Time from the detection of a sample, when a trigger fired, until the last vehicle attests a released model that "
    "was trained on it. Each sample is observed once.",
    buckets=LOOP_BUCKETS_S,
)

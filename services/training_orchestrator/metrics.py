"""Every metric that training_orchestrator adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

OPEN_RUNS = Gauge("fleetloop_training_open_runs", "Training runs that are queued or running.")
RUNS = Counter(
    "fleetloop_training_runs_total", "Training runs that ended, by verdict (passed, rejected, failed).", ["verdict"]
)

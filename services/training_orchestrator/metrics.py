"""Every metric that training_orchestrator adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

# Runs that are queued or running.
OPEN_RUNS = Gauge("fleetloop_training_runs_open", "Training runs queued or running.")
# Runs that ended: passed, rejected or failed.
RUNS = Counter("fleetloop_training_runs_total", "Training runs that ended, by verdict.", ["verdict"])

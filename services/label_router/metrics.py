"""Every metric that label_router adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

# Firings by trigger and what was decided; `reason` is set for drops.
DECISIONS = Counter("fleetloop_route_decisions_total", "Decisions on firings.", ["trigger", "decision", "reason"])
# Clips that were asked for and have not come.
WAITING_CLIPS = Gauge("fleetloop_route_clips_waiting", "Clips that vehicles were asked for and have not sent.")

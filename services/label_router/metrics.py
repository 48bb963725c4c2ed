"""Every metric that label_router adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DECISIONS = Counter(
    "fleetloop_route_decisions_total",
    "Decisions on firings, by trigger and decision; `reason` is set for drops.",
    ["trigger", "decision", "reason"],
)
WAITING_CLIPS = Gauge("fleetloop_route_waiting_clips", "Clips that were requested from vehicles and have not come.")

"""Every metric that campaign_keeper adds to the common ones."""

from __future__ import annotations

from prometheus_client import Gauge

# The ledger: what each trigger version earned. `count` is fired, clips, clip_bytes, tasks, labelled
# or kept. A gauge, because it is restored from the database at start.
EARNINGS = Gauge(
    "fleetloop_trigger_earnings", "What became of a trigger's firings.", ["campaign", "trigger", "version", "count"]
)
# Firings that triage dropped, by why. The router counts them by trigger, not by version; asked every quarter minute.
DROPPED = Gauge("fleetloop_trigger_dropped", "Firings that triage dropped.", ["trigger", "reason"])
# Triggers of running campaigns, and those that have ended because their quota was met.
CAMPAIGN_TRIGGERS = Gauge("fleetloop_campaign_triggers", "Triggers of a campaign.", ["campaign", "state"])

"""Every metric that campaign_keeper adds to the common ones."""

from __future__ import annotations

from prometheus_client import Gauge

# The ledger: what each trigger version earned. `count` is fired, clips, clip_bytes, tasks, labelled
# or kept. A gauge, because it is restored from the database at start.
EARNINGS = Gauge(
    "fleetloop_trigger_earnings", "What became of a trigger's firings.", ["campaign", "trigger", "version", "count"]
)

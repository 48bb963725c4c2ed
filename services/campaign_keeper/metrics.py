"""Every metric that campaign_keeper adds to the common ones."""

from __future__ import annotations

from prometheus_client import Gauge

# A gauge and no counter, because it is restored from the database at start.
EARNINGS = Gauge(
    "fleetloop_trigger_earnings",
    "The outcome of a trigger version's firings; `count` is fired, clips, clip_bytes, tasks, labelled or kept.",
    ["campaign", "trigger", "version", "count"],
)
DROPPED = Gauge(
    "fleetloop_trigger_dropped",
    "Firings that triage dropped, by trigger (all versions) and reason; asked of the router every 15 s.",
    ["trigger", "reason"],
)
CAMPAIGN_TRIGGERS = Gauge(
    "fleetloop_campaign_triggers",
    "Triggers of a campaign, by the campaign's state; `ended` counts those whose quota of labels was met.",
    ["campaign", "state"],
)

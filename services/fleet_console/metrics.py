"""Every metric that fleet_console adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

OPEN_PAGES = Gauge("fleetloop_console_open_pages", "Pages that are open in browsers, by page.", ["page"])
UNAVAILABLE_PEERS = Gauge(
    "fleetloop_console_unavailable_peers",
    "1 while the service `peer` does not answer the console, 0 otherwise.",
    ["peer"],
)
LABELLING = Counter(
    "fleetloop_console_label_actions_total",
    "Actions of labellers on the label page, by action: answered, cannot_tell or undone.",
    ["action"],
)

"""Every metric that fleet_console adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

OPEN_PAGES = Gauge("fleetloop_console_open_pages", "Pages that are open in browsers, by page.", ["page"])
PEER_AWAY = Gauge(
    "fleetloop_console_peer_away", "1 while a service does not answer the console, 0 otherwise.", ["peer"]
)
LABELLING = Counter(
    "fleetloop_console_labelling_total", "Actions on the label page (answered, cannot_tell, undone).", ["action"]
)

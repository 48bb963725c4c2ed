"""Every metric that fleet_console adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

# Pages that are open in somebody's browser.
OPEN_PAGES = Gauge("fleetloop_console_open_pages", "Pages open in browsers.", ["page"])
# 1 while a service does not answer the console, else 0.
PEER_AWAY = Gauge("fleetloop_console_peer_away", "Whether a service does not answer.", ["peer"])
# What people did on the label page: answered, cannot_tell, undone, expired, refused.
LABELLING = Counter("fleetloop_console_labelling_total", "Actions on the label page.", ["action"])

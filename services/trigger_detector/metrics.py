"""The metrics that trigger_detector adds to those of every service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

FRAMES = Counter(
    "fleetloop_detector_frames_total",
    "Frames (the signals of one vehicle at one instant) that were evaluated; replayed frames do not count.",
)
BATCHES = Counter(
    "fleetloop_detector_batches_total",
    "Batches that were read, by outcome: evaluated, duplicate, late (evaluated without the frames around it), "
    "too_late (not evaluated) or unreadable.",
    ["outcome"],
)
REPLAYED = Counter(
    "fleetloop_detector_replayed_batches_total",
    "Batches that were replayed without firing, to restore state after an assignment of partitions or a change of "
    "campaigns.",
)
FIRINGS = Counter(
    "fleetloop_detector_firings_total",
    "Firings that Kafka has acknowledged, by trigger version.",
    ["campaign", "trigger", "version"],
)
STEP_SECONDS = Histogram(
    "fleetloop_detector_step_seconds", "Time to evaluate the batches that one poll returned for one partition."
)
VEHICLES = Gauge(
    "fleetloop_detector_vehicles", "Vehicles of which this process holds state; each boot counts separately."
)
STATE_BYTES = Gauge(
    "fleetloop_detector_state_bytes", "Size of the state of all vehicles, without the containers around it, in bytes."
)
TRIGGERS = Gauge("fleetloop_detector_triggers", "Triggers that this detector evaluates.")
REFUSED_TRIGGERS = Gauge(
    "fleetloop_detector_refused_triggers", "Triggers of running campaigns that this detector cannot compile."
)

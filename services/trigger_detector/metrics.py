"""The metrics that trigger_detector adds to those of every service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# Frames (one vehicle's signals at one instant) evaluated live; replays do not count.
FRAMES = Counter("fleetloop_detector_frames_total", "Frames evaluated.")
# Batches by outcome: evaluated, duplicate, late (evaluated by itself), too_late (not evaluated), unreadable.
BATCHES = Counter("fleetloop_detector_batches_total", "Batches read, by outcome.", ["outcome"])
# Batches that are replayed on assignment or after a change of campaigns to restore state, without firing.
REPLAYED = Counter("fleetloop_detector_replayed_batches_total", "Batches replayed without firing.")
# Firings that Kafka acknowledged.
FIRINGS = Counter("fleetloop_detector_firings_total", "Trigger events sent.", ["campaign", "trigger", "version"])
# Seconds that evaluating one partition's part of a poll took.
STEP_SECONDS = Histogram("fleetloop_detector_step_seconds", "Seconds to evaluate one partition's part of a poll.")
# Pairs of vehicle and boot that this process holds state of.
VEHICLES = Gauge("fleetloop_detector_vehicles", "Vehicles with state.")
# Bytes of that state, without the containers around it.
STATE_BYTES = Gauge("fleetloop_detector_state_bytes", "Bytes of state.")
# Triggers in force.
TRIGGERS = Gauge("fleetloop_detector_triggers", "Triggers in force.")
# Triggers of running campaigns that this detector cannot compile.
REFUSED_TRIGGERS = Gauge("fleetloop_detector_refused_triggers", "Triggers that cannot run here.")

"""Every metric that trigger_detector adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# Frames (one vehicle's signals at one instant) evaluated live; replays do not count.
FRAMES = Counter("fleetloop_detector_frames_total", "Frames evaluated.")
# Batches by what became of them: evaluated, duplicate, late (evaluated by themselves), too_late, unreadable.
BATCHES = Counter("fleetloop_detector_batches_total", "Batches read, by outcome.", ["outcome"])
# Batches read again on assignment or after a change of campaigns to restore state, without firing.
REPLAYED = Counter("fleetloop_detector_replayed_batches_total", "Batches replayed silently.")
# Firings that Kafka acknowledged.
FIRINGS = Counter("fleetloop_detector_firings_total", "Trigger events sent.", ["campaign", "trigger", "version"])
# Seconds that one pass over a partition's share of a poll took.
STEP_SECONDS = Histogram("fleetloop_detector_step_seconds", "Time that one pass took.")
# Vehicles (and boots) that this process holds state of.
VEHICLES = Gauge("fleetloop_detector_vehicles", "Vehicles with state.")
# Bytes of that state's arrays.
STATE_BYTES = Gauge("fleetloop_detector_state_bytes", "Bytes of state.")
# Triggers in force.
TRIGGERS = Gauge("fleetloop_detector_triggers", "Triggers in force.")
# Triggers of running campaigns that this detector cannot run, usually because their expression is not its
# language.
REFUSED_TRIGGERS = Gauge("fleetloop_detector_refused_triggers", "Triggers that cannot run here.")

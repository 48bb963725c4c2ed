"""Every metric that telemetry_gateway adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

# Batches that Kafka has, by the way they came: stream or ingest.
BATCHES = Counter("fleetloop_gateway_batches_total", "Batches stored in Kafka.", ["way"])
# Frames in them.
FRAMES = Counter("fleetloop_gateway_frames_total", "Frames in batches stored in Kafka.", ["way"])
# Their serialised size.
BYTES = Counter("fleetloop_gateway_bytes_total", "Bytes of batches stored in Kafka.", ["way"])
# Batches refused, by the code in their BatchError.
REJECTIONS = Counter("fleetloop_gateway_rejections_total", "Batches refused, by code.", ["way", "code"])
# Columns that the catalogue does not know; the first 100 names, the rest as "other".
DROPPED_COLUMNS = Counter("fleetloop_gateway_dropped_columns_total", "Unknown columns dropped, by name.", ["signal"])
# Open streams, by kind: telemetry or commands.
OPEN_STREAMS = Gauge("fleetloop_gateway_open_streams", "Open streams of vehicles.", ["kind"])
# Bytes of clips received, repeats included.
UPLOAD_BYTES = Counter("fleetloop_gateway_upload_bytes_total", "Bytes of clips received.")
# Clips by what became of them: stored, repeated, damaged.
CLIPS = Counter("fleetloop_gateway_clips_total", "Clips, by outcome.", ["outcome"])
# Commands written to vehicles' streams, repeats included.
COMMANDS = Counter("fleetloop_gateway_commands_total", "Commands sent down to vehicles.")
# Commands that have not expired.
STANDING_COMMANDS = Gauge("fleetloop_gateway_standing_commands", "Commands that have not expired.")

_MOST_NAMES = 100
_names: set[str] = set()


def count_dropped(signal: str) -> None:
    """Counts a dropped column; names come from outside, so their number is bounded."""
    if signal not in _names:
        if len(_names) >= _MOST_NAMES:
            signal = "other"
        else:
            _names.add(signal)
    DROPPED_COLUMNS.labels(signal).inc()

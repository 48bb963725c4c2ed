"""The metrics that only telemetry_gateway has."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

BATCHES = Counter(
    "fleetloop_gateway_batches_total",
    "Batches that Kafka has acknowledged, by source: stream (of a vehicle) or ingest (the topic fleet.ingest.v1).",
    ["source"],
)
FRAMES = Counter("fleetloop_gateway_frames_total", "Frames in batches that Kafka has acknowledged.", ["source"])
BYTES = Counter(
    "fleetloop_gateway_bytes_total", "Serialised size of batches that Kafka has acknowledged, in bytes.", ["source"]
)
REJECTIONS = Counter(
    "fleetloop_gateway_rejections_total",
    "Batches that were rejected, by the code of their BatchError.",
    ["source", "code"],
)
DEFERRALS = Counter(
    "fleetloop_gateway_deferrals_total",
    "Batches that were too far in the future, or behind such a batch; the vehicle keeps them and sends them again.",
)
CORRECTED_TIMES = Counter(
    "fleetloop_gateway_corrected_times_total",
    "Batches (source stream or ingest) and clips (source clip) that were stored with a corrected time.",
    ["source"],
)
DROPPED_COLUMNS = Counter(
    "fleetloop_gateway_dropped_columns_total",
    "Columns that were dropped because the signal catalogue does not list them. The first 100 names have a series "
    "each; the rest count as 'other'.",
    ["signal"],
)
OPEN_STREAMS = Gauge(
    "fleetloop_gateway_open_streams", "Open streams of vehicles, by kind: telemetry or commands.", ["kind"]
)
LIMITED = Counter(
    "fleetloop_gateway_limited_total",
    "Streams that a newer one of their vehicle superseded (kind telemetry, commands or upload), requests that were "
    "refused because their vehicle had too many in progress (kind request), and commands that were dropped because "
    "their vehicle had too many (kind command).",
    ["kind"],
)
UPLOAD_BYTES = Counter(
    "fleetloop_gateway_upload_bytes_total", "Bytes of clips received, including bytes that were sent again."
)
CLIPS = Counter(
    "fleetloop_gateway_clips_total",
    "Uploads of clips, by outcome: stored, repeated, damaged, or abandoned to make room for a newer one.",
    ["outcome"],
)
COMMANDS = Counter(
    "fleetloop_gateway_commands_total", "Commands written to the streams of vehicles, including repeated attempts."
)
PENDING_COMMANDS = Gauge("fleetloop_gateway_pending_commands", "Commands that have not expired.")

_MOST_NAMES = 100
_names: set[str] = set()


def count_dropped(signal: str) -> None:
    """Counts a dropped column. Vehicles choose the names, so the number of series is bounded."""
    if signal not in _names:
        if len(_names) >= _MOST_NAMES:
            signal = "other"
        else:
            _names.add(signal)
    DROPPED_COLUMNS.labels(signal).inc()

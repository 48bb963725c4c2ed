"""The metrics that only telemetry_archiver has."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

FILES = Counter("fleetloop_archive_files_total", "Parquet files that this process has created.")
BATCHES = Counter("fleetloop_archive_batches_total", "Batches in the Parquet files that this process has created.")
FRAMES = Counter("fleetloop_archive_frames_total", "Frames in the Parquet files that this process has created.")
BYTES = Counter("fleetloop_archive_bytes_total", "Size of the Parquet files that this process has created, in bytes.")
REPEATS = Counter(
    "fleetloop_archive_repeated_batches_total", "Batches that were left out because they were archived before."
)
LOST_RACES = Counter(
    "fleetloop_archive_lost_races_total",
    "Files that another archiver had created first, so that this process discarded what it had read.",
)
DAMAGED_FILES = Counter(
    "fleetloop_archive_damaged_files_total",
    "Files that could not be read and were renamed to <name>.damaged-<time>.",
)
MISSED_OFFSETS = Counter(
    "fleetloop_archive_missed_offsets_total",
    "Offsets that Kafka had deleted before they were archived: the archiver was away for longer than the retention.",
)
WAITING_BATCHES = Gauge(
    "fleetloop_archive_waiting_batches", "Batches that were read and are not in a closed file yet."
)

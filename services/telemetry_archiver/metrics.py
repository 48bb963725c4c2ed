"""Every metric that telemetry_archiver adds to the common ones."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

# Files that this process created.
FILES = Counter("fleetloop_archive_files_total", "Parquet files created.")
# Batches in them.
BATCHES = Counter("fleetloop_archive_batches_total", "Batches archived.")
# Frames in them.
FRAMES = Counter("fleetloop_archive_frames_total", "Frames archived.")
# Their size.
BYTES = Counter("fleetloop_archive_bytes_total", "Bytes of Parquet written.")
# Batches left out because they were archived before.
REPEATS = Counter("fleetloop_archive_repeats_total", "Repeated batches left out.")
# Files that another archiver had created meanwhile; what this one had was discarded.
LOST_RACES = Counter("fleetloop_archive_lost_races_total", "Files that somebody else created first.")
# Messages that the log had lost before they were archived: retention was shorter than the archiver's absence.
MISSED_OFFSETS = Counter("fleetloop_archive_missed_offsets_total", "Offsets gone from the log before they were read.")
# Batches read and not yet in a file.
WAITING_BATCHES = Gauge("fleetloop_archive_waiting_batches", "Batches that wait for their file to be closed.")

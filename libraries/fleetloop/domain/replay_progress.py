"""How far a backtest is: the detector's process counts, and the command line shows what that process writes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReplayProgress:
    """What has been replayed so far."""

    files: int = 0
    files_total: int = 0
    """Files of the archive."""
    batches: int = 0
    frames: int = 0
    firings: int = 0
    unreadable: int = 0
    """Batches that fail the catalogue's check, which the live detector sends to the dead-letter queue."""
    damaged_files: int = 0
    """Files that could not be read, or only in part. Without them, nothing is known about their times."""
    driven_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """(vehicle, UTC day) -> seconds of telemetry. The command line knows it only at the end."""

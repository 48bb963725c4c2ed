"""Drives and clips as files: signals at their own rates and any number of cameras in one MCAP file.

Vehicles write clips, users convert their own logs to drives, and the curator, the label desk and the recorded world
read both. docs/drives.md describes the format.
"""

from __future__ import annotations

from fleetloop.domain.clips.model import ClipError, DriveInfo, DriveSignal, Image
from fleetloop.domain.clips.reader import Drive, read_drive
from fleetloop.domain.clips.writer import DriveWriter

__all__ = ["ClipError", "Drive", "DriveInfo", "DriveSignal", "DriveWriter", "Image", "read_drive"]

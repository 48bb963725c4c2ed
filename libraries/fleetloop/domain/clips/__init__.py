"""Drives and clips as files: signals at their own rates and any number of cameras in one MCAP file.

Vehicles write clips, people convert their own logs, and the curator, the label desk and the recorded world read both;
they all meet in this one format, which docs/drives.md describes.
"""

from __future__ import annotations

from fleetloop.domain.clips.model import ClipError, DriveInfo, DriveSignal, Image
from fleetloop.domain.clips.reader import Drive, read_drive
from fleetloop.domain.clips.writer import DriveWriter

__all__ = ["ClipError", "Drive", "DriveInfo", "DriveSignal", "DriveWriter", "Image", "read_drive"]
